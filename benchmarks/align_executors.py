#!/usr/bin/env python3
"""Stage 3 with a given model in one process, in several, and on Dask workers: seconds, memory, and the same bytes.

    python benchmarks/align_executors.py --data data/mini --aligner-model data/mini/aligned/aligner --num-jobs 2

Each run is a process of its own. CPU seconds are of it and its workers; peak MB is the largest of these processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lhotse_prep.workflow.digests import digest_file, digest_json

RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.executor import open_executor
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.align_corpus import align_corpus
from ml2021.asr.aligner.config import AlignerConfig

if __name__ == "__main__":
    conf, data, model, out, kind, jobs = sys.argv[1:]
    config = replace(load_config(Path(conf) / "asr.yaml", "aligner", AlignerConfig), model=model)
    with open_executor(ExecutorConfig(kind, int(jobs))) as executor:
        align_corpus(Path(data, "manifests"), Path(data, "truth"), Path(out), config, StretchConfig(), executor)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/")
    parser.add_argument("--aligner-model", required=True, help="as for stage 3")
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"))
    parser.add_argument("--num-jobs", type=int, default=2)
    args = parser.parse_args()
    print("| executor | wall s | CPU s | peak MB | digest of all files |")
    print("|---|---|---|---|---|")
    for kind, jobs in (("serial", 1), ("processes", args.num_jobs), ("dask", args.num_jobs)):
        with tempfile.TemporaryDirectory() as folder:
            script, out = Path(folder, "run.py"), Path(folder, "out")
            script.write_text(RUN)
            out.mkdir()
            before, started = _usage(), time.time()
            values = [args.conf, args.data, args.aligner_model, out, kind, jobs]
            environment = os.environ | {"PYTHONPATH": ".:egs"}
            subprocess.run([sys.executable, str(script), *map(str, values)], check=True, env=environment)
            seconds, usage = time.time() - started, _usage()
            digest = digest_json({p.name: digest_file(p) for p in sorted(out.glob("*")) if p.is_file()})[:12]
            cpu = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"| {kind}, {jobs} | {seconds:.1f} | {cpu:.1f} | {usage.ru_maxrss / 1024:.0f} | {digest} |", flush=True
            )


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


if __name__ == "__main__":
    main()
