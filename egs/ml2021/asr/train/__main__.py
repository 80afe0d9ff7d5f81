"""python -m ml2021.asr.train --help"""

from __future__ import annotations

from lhotse_prep.workflow.entry import run_main
from ml2021.asr.train.train import main

if __name__ == "__main__":  # a worker process imports this module too
    run_main(main)
