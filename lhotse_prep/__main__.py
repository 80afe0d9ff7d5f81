"""python -m lhotse_prep {corpus,manifests,align,windows,bitext,validate} --help"""

from __future__ import annotations

from lhotse_prep.cli import main
from lhotse_prep.workflow.entry import run_main

if __name__ == "__main__":  # worker processes import this module too
    run_main(main)
