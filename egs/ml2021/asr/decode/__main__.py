"""python -m ml2021.asr.decode --help"""

from __future__ import annotations

from lhotse_prep.workflow.entry import run_main
from ml2021.asr.decode.options import parse_options


def main(argv: list[str]) -> None:
    """Decode windows (--cuts) or whole lectures (--manifests or --audio), these with any recogniser."""
    args = parse_options(argv)
    if args.recogniser is not None:
        from ml2021.asr.decode import any_recogniser

        any_recogniser.run(args)
    elif args.cuts is not None:
        from ml2021.asr.decode import windows

        windows.run(args)
    else:
        from ml2021.asr.decode import lectures  # windows need nothing of it

        lectures.run(args)


if __name__ == "__main__":  # worker processes import this module too
    run_main(main)
