#!/usr/bin/env python3
"""Print what `lhotse cut describe` omits: tokens per second, languages, confidences. Can draw a cut as PNG."""

from __future__ import annotations

import argparse
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError


def main(argv: list[str]) -> None:
    """Print a summary of each manifest or of one cut; with --png, draw that cut."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("cuts", type=Path, nargs="+", metavar="CUTS", help="manifests of cuts")
    parser.add_argument("--cut", metavar="ID", help="only this cut")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the cut of --cut: waveform, fbank and words")
    args = parser.parse_args(argv)
    if args.cut is None and args.png is not None:
        raise ConfigError("--png draws one cut: name it with --cut ID")
    if args.cut is not None and len(args.cuts) > 1:
        raise ConfigError(f"--cut needs exactly one manifest, got {len(args.cuts)}")
    from ml2021.report.cut_summary import find_cut, read_cuts, render, summarise

    for path in args.cuts:
        cuts = read_cuts(path)
        if args.cut is None:
            print(render(path.name, summarise(cuts)))
            continue
        cut = find_cut(cuts, args.cut, path)
        print(render(cut.id, summarise([cut])))
        for s in cut.supervisions:
            print(f"  {s.start:7.2f} to {s.end:7.2f}  {s.text or ''}")
        if args.png is not None:
            from ml2021.report.cut_plot import draw_cut

            draw_cut(cut, args.png)
            print(f"{args.png}: waveform, fbank and words")


if __name__ == "__main__":
    run_main(main)
