"""Time and memory of one aligner on one lecture; align_speed.py runs this as a separate process.

It imports only the tool that it measures, so it also runs in the environment of another tool.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import megabytes

Run = Callable[[], np.ndarray]  # returns the start frame of each unit


def ours(log_probs: np.ndarray, units: np.ndarray, faults: bool) -> Run:
    """The aligner of this project, without costs for faults in the transcript, or with those of stage 3."""
    from lhotse_prep.alignment.search.align import align
    from ml2021.asr.aligner.config import AlignerConfig

    costs: dict[str, Any] = {**AlignerConfig().costs, "distance": 25} if faults else {}
    align(log_probs[:600], units[:20], "warm-up", **costs)  # loads the compiled code
    return lambda: align(log_probs, units, "speed", **costs).start


def torchaudio(log_probs: np.ndarray, units: np.ndarray) -> Run:
    """torchaudio.functional.forced_align."""
    import torch
    from torchaudio.functional import forced_align

    torch.set_num_threads(1)

    def run() -> np.ndarray:
        tokens, _ = forced_align(torch.from_numpy(log_probs)[None], torch.from_numpy(units)[None], blank=0)
        tokens = tokens[0].numpy()
        return np.flatnonzero((tokens != 0) & (tokens != np.append(0, tokens[:-1])))

    return run


def ctc_segmentation(log_probs: np.ndarray, units: np.ndarray) -> Run:
    """The ctc-segmentation package, with every unit as a separate utterance."""
    from ctc_segmentation import CtcSegmentationParameters, prepare_token_list
    from ctc_segmentation import ctc_segmentation as segment

    config = CtcSegmentationParameters(char_list=[str(i) for i in range(log_probs.shape[1])])
    config.index_duration, config.blank = 1.0, 0

    def run() -> np.ndarray:
        truth, begins = prepare_token_list(config, [np.array([u]) for u in units])
        timings: np.ndarray = segment(config, log_probs, truth)[0]
        begin: np.ndarray = timings[np.array(begins[:-1]) + 1]
        return begin

    return run


def main() -> None:
    tool, folder, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    log_probs, units, frames = (np.load(folder / f"{name}.npy") for name in ("log_probs", "units", "frames"))
    makers: dict[str, Callable[[], Run]] = {
        "ours": lambda: ours(log_probs, units, faults=False),
        "ours with faults allowed": lambda: ours(log_probs, units, faults=True),
        "torchaudio": lambda: torchaudio(log_probs, units),
        "ctc-segmentation": lambda: ctc_segmentation(log_probs, units),
    }
    run = makers[tool]()
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    seconds, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        starts = run()
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    timed = starts >= 0
    off = float((np.abs(starts - frames)[timed] > 25).mean()) if len(starts) == len(frames) else None
    measured = {"seconds": statistics.median(seconds), "cpu": statistics.median(cpu), "off": off}
    print(json.dumps(measured | {"megabytes": megabytes("VmHWM") - before}))


if __name__ == "__main__":
    main()
