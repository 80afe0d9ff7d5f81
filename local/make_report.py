#!/usr/bin/env python3
"""Stage 12: write the HTML report of the run and results.json, and print the table of results."""

from lhotse_prep.workflow.entry import number, run_main, stage_parser
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import Input, Stage
from ml2021.report.config import PageConfig
from ml2021.report.results import collect_results, decode_folders, render_table


def main(argv: list[str]) -> None:
    """Write the page unless it is up to date; always write results.json and print the table."""
    parser = stage_parser(__doc__ or "")
    parser.add_argument(
        "--audio-megabytes",
        type=number,
        default=PageConfig.audio_megabytes,
        help="maximum size of all audio clips in the page, in megabytes; 0 for no audio [%(default)s]",
    )
    parser.add_argument(
        "--lecture-hours",
        type=number,
        default=PageConfig.lecture_hours,
        help="hours of lectures that the page draws, at about 1 MB each; lectures.tsv has all figures [%(default)s]",
    )
    parser.add_argument("--partial", action="store_true", help="make the page even if stages are missing")
    args = parser.parse_args(argv)
    data, exp = args.data, args.exp
    config = PageConfig(args.audio_megabytes, args.lecture_hours)
    has_bars = args.conf.name == "mini" and (data / "truth").is_dir()  # the bars are for this corpus only
    results = collect_results(data, exp)
    inputs = [
        Input(args.conf),
        Input(data / "aligned", 3),
        Input(data / "cuts", 4),
        Input(exp / "asr", 5),
        *(Input(folder, 6) for folder in decode_folders(exp)),
        Input(data / "bitext", 7),
        Input(exp / "mt", 8),
        Input(exp / "mt" / "decode", 9),
        Input(exp / "st", 10),
        Input(exp / "export", 11),
    ]
    if args.partial:
        inputs = [i for i in inputs if i.made_by is None or (i.path / ".done").is_file()]
    seconds = {stage: s for stage, s in results["wall_seconds"].items() if stage not in ("report", "total")}
    stage = Stage("report", exp / "report", inputs, {"seconds": seconds, "page": config})
    if not stage.is_done():
        from ml2021.report.page import write_page

        with stage.work() as out:
            write_page(out / "index.html", data, exp, args.conf, results, has_bars, config)
        results = collect_results(data, exp)  # now with the seconds of this stage
    write_json(exp / "results.json", results)
    print(f"{exp}/results.json, {exp}/report/index.html:\n\n{render_table(results, has_bars)}\n")


if __name__ == "__main__":
    run_main(main)
