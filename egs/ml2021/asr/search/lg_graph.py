"""Make the graph of fast_beam_search_nbest_LG, which lg.py describes. Needs k2.

python -m ml2021.asr.search.lg_graph --lang-dir data/mini/lang --arpa words.arpa --out LG.pt
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from lhotse_prep.workflow.entry import run_main

logger = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """Make the graph of fast_beam_search_nbest_LG from a lang folder and an ARPA language model."""
    parser = argparse.ArgumentParser(prog="python -m ml2021.asr.search.lg_graph", description=main.__doc__)
    parser.add_argument("--lang-dir", type=Path, required=True, help="stage 2's folder")
    parser.add_argument("--arpa", type=Path, required=True, help="n-gram model of words or tokens, in the ARPA format")
    parser.add_argument("--out", type=Path, required=True, help="file for the graph, such as LG.pt")
    args = parser.parse_args(argv)
    from lhotse_prep.tokens.lang import load_lang
    from ml2021.asr.fusion.arpa import read_arpa
    from ml2021.asr.search.lg import build_lg, save_lg

    graph = build_lg(read_arpa(args.arpa), load_lang(args.lang_dir))
    save_lg(args.out, graph)
    logger.info("%s: %d states, %d arcs", args.out, graph.shape[0], graph.num_arcs)


if __name__ == "__main__":
    run_main(main)
