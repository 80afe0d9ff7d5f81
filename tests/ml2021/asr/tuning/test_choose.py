"""Values chosen on dev: as by separate decodings; what is refused; nothing is written by half."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lhotse_prep.workflow.entry import hyphenated
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.__main__ import main as decode
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.fusion.lexicon import main as make_lexicon
from ml2021.asr.fusion.train_lm import train_lm
from ml2021.asr.tuning import decode_grid
from ml2021.asr.tuning.choose import main
from ml2021.asr.tuning.term_recall import read_recogs
from tests.ml2021.asr.with_units import make_with_units

BEAM = ("--decoding-method", "modified_beam_search")


@pytest.fixture(scope="module")
def lm_dir(tone_corpus, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("lm")
    train_lm(tone_corpus.cuts, None, tone_corpus.lang, folder, LmConfig("ngram", 3))
    return folder


@pytest.fixture(scope="module")
def with_units(tone_corpus, config, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """A recogniser with a head on units and a lexicon, not trained."""
    folder = tmp_path_factory.mktemp("with-units") / "asr"
    make_with_units(folder, tone_corpus.lang, config, ["一 二 三 四 五 六 七 八", "model data"])
    lexicon = folder.parent / "lexicon" / "lexicon.txt"
    make_lexicon(["--exp-dir", str(folder), "--cuts", str(tone_corpus.cuts), "--out", str(lexicon)])
    return folder


def folders(exp: Path, cuts: Path) -> list[str]:
    return ["--exp-dir", str(exp), "--cuts", str(cuts), "--part", "dev"]


def choose(exp: Path, cuts: Path, out: Path, choices: dict[str, Sequence[Any]], *options: str) -> dict[str, Any]:
    """The table of the command."""
    chosen = [x for n, v in choices.items() for x in ("--option", f"{n}={','.join(map(str, v))}")]
    main(hyphenated([*folders(exp, cuts), "--out", str(out), *chosen, *options]))
    content: dict[str, Any] = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    return content


def errors_by_decoding(exp: Path, cuts: Path, out: Path, choices: dict[str, Sequence[Any]], *options: str) -> dict:  # type: ignore[type-arg]
    """{values: errors on dev} by `python -m ml2021.asr.decode`, once for each combination."""
    errors = {}
    for i, values in enumerate(itertools.product(*choices.values())):
        given = [x for name, value in zip(choices, values) for x in (f"--{name.replace('_', '-')}", str(value))]
        decode([*folders(exp, cuts), "--out-dir", str(out / str(i)), *options, *given])
        (recogs,) = (out / str(i)).glob("recogs-*")
        errors[values] = read_recogs(recogs).total.errors
    return errors


@pytest.mark.parametrize("search", ["modified_beam_search", "ctc_prefix_beam_search", "lexicon_search"])
def test_the_best_of_separate_decodings_is_chosen(  # type: ignore[no-untyped-def]
    trained, with_units, lm_dir, tone_corpus, tmp_path, capsys, search
) -> None:
    (tmp_path / "terms.txt").write_text("一 二\nmodel\n", encoding="utf-8")
    options = ["--decoding-method", search, "--lm-dir", str(lm_dir), "--hotwords-file", str(tmp_path / "terms.txt")]
    choices: dict[str, Sequence[Any]] = {"lm_scale": (0.6, 0.0), "blank_penalty": (0.0, 3.0)}
    more: dict[str, dict[str, Sequence[Any]]] = {
        "modified_beam_search": {"ctc_scale": (0.5, 0.0)},
        "ctc_prefix_beam_search": {"hotwords_score": (3.0, 0.0)},
        "lexicon_search": {"word_score": (2.0, -2.0), "token_scale": (0.5, 0.0)},
    }
    choices |= more[search]
    exp = with_units if search == "lexicon_search" else trained
    out = tmp_path / "chosen" / "decode.yaml"
    content = choose(exp, tone_corpus.cuts, out, choices, *options)
    expected = errors_by_decoding(exp, tone_corpus.cuts, tmp_path, choices, *options)
    rows = content["combinations"]
    assert {tuple(row["values"].values()): row["errors"] for row in rows} == expected
    assert len(set(expected.values())) > 1, "the values should matter here"
    fewest = min(expected.values())
    best = min((v for v, n in expected.items() if n == fewest), key=lambda v: [(abs(x), x) for x in v])
    assert content["chosen"] == dict(zip(choices, best)) == rows[0]["values"]
    assert [row["errors"] for row in rows] == sorted(expected.values()) and not rows[0]["is_worse"]
    config = load_config(out, "decode", DecodeConfig)
    assert {name: getattr(config, name) for name in choices} == content["chosen"]
    assert config.decoding_method == search and config.hotwords_file == str(tmp_path / "terms.txt")
    printed = capsys.readouterr().out.splitlines()
    assert (
        printed[0].split()[: len(choices)] == list(choices) and "chosen" in printed[1] and len(printed) == 2 + len(rows)
    )
    assert list(yaml.safe_load(out.read_text(encoding="utf-8"))) == ["decode"]


def test_combinations_that_differ_in_nothing_are_decoded_once(trained, lm_dir, tone_corpus, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Without the CTC head's scores, ctc_lag has no effect, and greedy search has no beam."""
    choices: dict[str, Sequence[Any]] = {"ctc_scale": (0, 0.3), "ctc_lag": (5, 10, 20)}
    rows = choose(trained, tone_corpus.cuts, tmp_path / "a.yaml", choices, *BEAM)["combinations"]
    values = sorted(tuple(row["values"].values()) for row in rows)
    assert values == [(0.0,), (0.3, 5), (0.3, 10), (0.3, 20)]
    choices = {"lm_scale": (0, 0.3), "lodr_scale": (0, 0.1, 0.2)}
    options = (*BEAM, "--lm-dir", str(lm_dir), "--lodr-dir", str(lm_dir))
    rows = choose(trained, tone_corpus.cuts, tmp_path / "a.yaml", choices, *options)["combinations"]
    assert sorted(tuple(row["values"].values()) for row in rows) == [(0.0,), (0.3, 0.0), (0.3, 0.1), (0.3, 0.2)]
    choices = {"decoding_method": ("greedy_search", BEAM[1]), "lm_scale": (0, 0.3), "ctc_scale": (0, 0.3)}
    rows = choose(trained, tone_corpus.cuts, tmp_path / "a.yaml", choices, "--lm-dir", str(lm_dir))["combinations"]
    values = [tuple(row["values"].values()) for row in rows]
    assert len(values) == 5 and ("greedy_search",) in values
    written = yaml.safe_load((tmp_path / "a.yaml").read_text(encoding="utf-8"))["decode"]
    assert {"lm_scale", "lodr_scale", "ilm_scale", "ctc_scale"} <= written.keys()  # also those that are 0
    methods: dict[str, Sequence[Any]] = {
        "decoding_method": ("greedy-search", "modified_beam_search"),
        "beam_size": (2, 4),
    }
    rows = choose(trained, tone_corpus.cuts, tmp_path / "a.yaml", methods)["combinations"]
    assert len(rows) == 3 and {"decoding_method": "greedy_search"} in [row["values"] for row in rows]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--part", "test", "--option", "beam_size=2,4", *BEAM], ConfigError, "too good.*choose on dev"),
        (["--part", "other", "--option", "beam_size=2,4", *BEAM], ConfigError, "--part other"),
        (["--option", "beam=1,2,three"], ConfigError, "'three' must be a number"),
        (["--option", "beam_size=2.5"], ConfigError, "'2.5' must be a whole number"),
        (["--option", "beam_size"], ConfigError, "expected NAME=VALUE"),
        (["--option", "max_duration=10,20"], ConfigError, "no such option to choose"),
        (["--option", "lm_scales=0,1"], ConfigError, "no such option to choose; there are decoding_method, .*lm_scale"),
        (["--option", "beam_size=2,2", *BEAM], ConfigError, "a value is there twice"),
        (["--option", "beam_size=2", "--option", "beam_size=3"], ConfigError, "given twice"),
        (["--option", "beam_size=2,4", "--beam-size", "3", *BEAM], ConfigError, "leave one out"),
        (["--option", "beam_size=0,4", *BEAM], ConfigError, "beam_size must be > 0, got 0"),
        (["--option", "ctc_scale=0,1.5", *BEAM], ConfigError, "ctc_scale must be .* below 1"),
        (["--option", "lm_scale=nan", *BEAM], ConfigError, "lm_scale must be a finite number"),
        (
            ["--option", "ctc_scale=0,0.3", "--decoding-method", "greedy_search"],
            ConfigError,
            "no effect.*modified_beam",
        ),
        (["--option", "beam_size=2,4", "--decoding-method", "greedy_search"], ConfigError, "beam_size has no effect"),
        (["--option", "ctc_lag=5,10", *BEAM], ConfigError, "ctc_lag has no effect here: it needs .*ctc_scale above 0"),
        (["--option", "beam_size=2,4", "--num-paths", "9", *BEAM], ConfigError, "num_paths has no effect.*nbest"),
        (["--option", "hotwords_score=1,2", *BEAM], ConfigError, "hotwords_score has no effect.*hotwords_file"),
        (["--option", "hotwords_score=1,2", "--hotwords-file", "scored.txt", *BEAM], ConfigError, "score of its own"),
        (["--option", "hotwords_score=1,2", "--hotwords-file", "lost.txt", *BEAM], DataError, "no hotwords file"),
        (["--option", "lm_scale=0,0.3", *BEAM], DataError, "no language model"),
        (
            ["--option", "lodr_scale=0,0.1", *BEAM],
            ConfigError,
            "lodr_scale has no effect here: it needs lm_scale above 0",
        ),
        (["--option", "units_rescore_scale=0,1", *BEAM], ConfigError, "needs a CTC head on units"),
        (["--option", f"beam_size={','.join(map(str, range(1, 300)))}", *BEAM], ConfigError, "299 combinations.* 200"),
        (["--option", "beam_size=2", "--out", "a.txt", *BEAM], ConfigError, r"ends in \.yaml"),
        (["--option", "beam_size=2", "--out", "mine.yaml", *BEAM], ConfigError, "did not write it"),
        (["--option", "beam_size=2", "--epoch", "7", *BEAM], DataError, r"epoch-7\.pt"),
    ],
)
def test_wrong_options_are_errors(trained, tone_corpus, tmp_path, monkeypatch, options, error, message) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    for name, content in (("mine.yaml", "decode: {beam_size: 8}\n"), ("scored.txt", "model :2.0\n")):
        Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(error, match=message):
        main(hyphenated([*folders(trained, tone_corpus.cuts), "--out", "new.yaml", *options]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.yaml", "scored.txt"]


def test_without_windows_nothing_can_be_chosen(trained, tone_corpus, tmp_path) -> None:  # type: ignore[no-untyped-def]
    cuts = shutil.copytree(tone_corpus.cuts, tmp_path / "cuts")
    (cuts / "ml2021_cuts_dev.jsonl.gz").unlink()
    with pytest.raises(DataError, match="the dev part has no windows"):
        choose(trained, cuts, tmp_path / "a.yaml", {"blank_penalty": (0, 1)})


def test_an_interrupted_choice_leaves_no_files(trained, tone_corpus, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    calls = itertools.count()
    search = decode_grid.search_encoder_out

    def interrupted(*args: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return search(*args)

    monkeypatch.setattr(decode_grid, "search_encoder_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        choose(trained, tone_corpus.cuts, tmp_path / "out" / "a.yaml", {"blank_penalty": (0, 1)})
    assert not (tmp_path / "out").exists()
