"""Decoding of windows from the command line: every method, short audio, names of files, and wrong options."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lhotse_prep.tokens.lang import lang_hash
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.entry import hyphenated
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.decode import windows
from ml2021.asr.decode.__main__ import main
from ml2021.asr.decode.config import DecodeConfig, LongFormConfig
from ml2021.asr.decode.options import VALUES, config_of, experiment_decode_config, parser, suffix_of, weights_of
from ml2021.asr.decode.streaming import parser as streaming_parser
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.config import DECODING_METHODS
from ml2021.asr.search.methods import search
from ml2021.training.checkpoint import save_checkpoint
from tests.ml2021.asr.zipformers import TWO_STACKS

NEED_MORE = ("fast_beam_search", "lexicon_search")  # k2, or a head on units
METHODS_HERE = [m for m in DECODING_METHODS if not m.startswith(NEED_MORE)]


@pytest.mark.parametrize("method", METHODS_HERE)
def test_audio_shorter_than_the_receptive_field_is_decoded(method: str) -> None:
    """Inputs of 1 to 12 frames in a batch: each has the hypothesis that it has alone, with frames of the encoder's."""
    torch.manual_seed(0)
    config = TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, rnnt_type="regular")
    model = AsrModel(config, vocab_size=6).eval()
    lens = torch.tensor([1, 2, 5, 8, 9, 12])
    features = torch.randn(6, 12, 80)
    decode_config = DecodeConfig(method, beam_size=2, blank_penalty=4.0, max_sym_per_frame=2)
    with torch.no_grad():
        _, encoder_lens = model.forward_encoder(features, lens)
    hypotheses = search(model, features, lens, decode_config)
    assert len(hypotheses) == 6 and any(h.tokens for h in hypotheses)
    for hypothesis, n in zip(hypotheses, encoder_lens.tolist()):
        assert len(hypothesis.tokens) == len(hypothesis.frames) == len(hypothesis.scores)
        assert all(0 <= f < n for f in hypothesis.frames) and all(0 < s <= 1 for s in hypothesis.scores)
        assert all(0 < t < 6 for t in hypothesis.tokens)
    alone = search(model, features[:1, :1], lens[:1], decode_config)[0]
    assert alone.tokens == hypotheses[0].tokens


def test_all_parts_are_decoded_by_a_model_that_is_loaded_once(
    trained, tone_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    folders = []
    monkeypatch.setattr(windows, "load_model", lambda exp, weights: folders.append(exp) or load_model(exp, weights))
    rates = windows.decode_parts(
        trained, tone_corpus.cuts, ["dev", "train"], tmp_path, DecodeConfig(), None, "greedy_search"
    )
    assert list(rates) == ["dev", "train"] and folders == [trained]
    assert {p.name for p in tmp_path.glob("recogs-*")} == {f"recogs-{p}-greedy_search.txt" for p in rates}


def test_windows_are_scored_with_anything_that_gives_texts(tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A stub that repeats the transcripts of a batch in the order of its features."""

    def transcripts(batch: dict[str, Any]) -> list[str]:
        supervisions = batch["supervisions"]
        rows = dict(zip(supervisions["sequence_idx"].tolist(), supervisions["text"], strict=True))
        return [rows[i] for i in range(len(batch["inputs"]))]

    rates = windows.score_parts(tone_corpus.cuts, ["dev", "train"], tmp_path, 5.0, transcripts, "stub", "stub")
    assert list(rates) == ["dev", "train"] and all(r.total.errors == 0 < r.total.num_ref for r in rates.values())
    assert (tmp_path / "recogs-train-stub.txt").is_file()
    with pytest.raises(DataError, match="the test part has no windows"):
        windows.score_parts(tone_corpus.cuts, ["test"], tmp_path, 5.0, transcripts, "stub", "stub")


def test_hypotheses_are_converted_to_the_script(
    trained, tone_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(TokenTable, "decode", lambda *_: "软 件 deep 头 发")
    windows.decode_parts(trained, tone_corpus.cuts, ["dev"], tmp_path, DecodeConfig(script="s2twp"), None, "x")
    hypotheses = [x for x in (tmp_path / "recogs-dev-x.txt").read_text(encoding="utf-8").splitlines() if "hyp=" in x]
    assert len(hypotheses) == 4 and all("'軟', '體', 'deep', '頭', '髮'" in line for line in hypotheses)


def test_without_k2_fast_beam_search_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16), vocab_size=6).eval()
    with pytest.raises(ConfigError, match="needs k2.*wheel.*modified_beam_search"):
        search(model, torch.randn(1, 20, 80), torch.tensor([20]), DecodeConfig("fast_beam_search"))


def test_ctc_search_needs_a_trained_head() -> None:
    config = TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, ctc_loss_scale=0.0)
    model = AsrModel(config, vocab_size=6).eval()
    with pytest.raises(ConfigError, match="ctc_loss_scale 0"):
        search(model, torch.randn(1, 20, 80), torch.tensor([20]), DecodeConfig("ctc_greedy_search"))


@pytest.mark.parametrize("rnnt_type", ["modified", "constrained"])
def test_beam_search_is_for_models_that_learned_several_tokens_a_frame(rnnt_type: str) -> None:
    config = TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, rnnt_type=rnnt_type)
    model = AsrModel(config, vocab_size=6).eval()
    with pytest.raises(ConfigError, match=f"regular.*{rnnt_type}.*modified_beam_search"):
        search(model, torch.randn(1, 20, 80), torch.tensor([20]), DecodeConfig("beam_search"))


def decode(trained: Path, corpus: object, conf: Path, *options: str) -> None:
    """Decode dev with the defaults of decode.yaml."""
    (conf / "decode.yaml").write_text("")
    folders = ["--exp-dir", str(trained), "--cuts", str(corpus.cuts), "--conf", str(conf)]  # type: ignore[attr-defined]
    main(hyphenated([*folders, "--part", "dev", *options]))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--decoding_method", "greedy-search"], "greedy_search"),
        (
            ["--epoch", "1", "--decoding-method", "modified_beam_search", "--beam_size", "3", "--blank-penalty=0.5"],
            "epoch-1-avg-1-modified_beam_search-beam-size-3-blank-penalty-0.5-use-averaged-model",
        ),
        (
            ["--epoch=1", "--use-averaged-model", "False", "--decoding-method", "ctc-prefix-beam-search"],
            "epoch-1-avg-1-ctc_prefix_beam_search-beam-size-4",
        ),
    ],
)
def test_files_have_the_names_of_their_options(
    trained, tone_corpus, tmp_path: Path, options: list[str], name: str
) -> None:  # type: ignore[no-untyped-def]
    decode(trained, tone_corpus, tmp_path, "--out-dir", str(tmp_path / "out"), *options)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {f"{kind}-dev-{name}.txt" for kind in ("recogs", "errs", "wer-summary", "mer")} | {
        f"scores-dev-{name}.json"
    }
    recogs = (tmp_path / "out" / f"recogs-dev-{name}.txt").read_text().splitlines()
    assert len(recogs) == 8 and all("\tref=[" in a and "\thyp=[" in b for a, b in zip(recogs[::2], recogs[1::2]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--epoch", "7"], DataError, r"no checkpoint.*epoch-7\.pt"),
        (["--iter", "9"], DataError, r"no checkpoint.*checkpoint-9\.pt"),
        (["--avg", "2"], ConfigError, "needs --epoch"),
        (["--epoch", "1", "--iter", "3"], ConfigError, "not both"),
        (["--epoch", "1", "--avg", "0"], ConfigError, "--avg"),
        (["--lm-scale", "0.3"], ConfigError, "lm_scale.*modified_beam_search"),
        (["--decoding-method", "modified_beam_search", "--lm-scale", "0.3"], DataError, "no language model"),
        (["--beam-size", "0"], ConfigError, "beam_size"),
        (["--epoch", "1", "--avg", "20"], DataError, "--avg 20 needs 20 epochs up to epoch-1.pt: take --avg 1 or less"),
        (["--blank-penalty", "nan"], ConfigError, "blank_penalty must be a finite number, got nan"),
        *(
            ([f"--{flag}", value], ConfigError, f"{flag.replace('-', '_')} must be a finite number, got {value}")
            for flag, (kind, _) in VALUES.items()
            if kind is float
            for value in ("nan", "inf")
        ),
    ],
)
def test_wrong_options_are_errors(trained, tone_corpus, tmp_path: Path, options, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        decode(trained, tone_corpus, tmp_path, *options)


def test_damaged_checkpoint_is_refused(trained, tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    exp = shutil.copytree(trained, tmp_path / "exp")
    for name, options in (("pretrained.pt", []), ("epoch-1.pt", ["--epoch", "1"])):
        content = bytearray((exp / name).read_bytes())
        content[len(content) // 2] ^= 1
        (exp / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is damaged"):
            decode(exp, tone_corpus, tmp_path, *options)


def test_tokens_of_another_training_are_refused(trained, other_lang, tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The same number of tokens in another order, which fits the weights, and more tokens, which do not."""
    exp = shutil.copytree(trained, tmp_path / "exp")
    lines = (exp / "lang" / "tokens.txt").read_text().splitlines()
    symbols = [line.rpartition(" ")[0] for line in lines]
    symbols[3], symbols[4] = symbols[4], symbols[3]
    (exp / "lang" / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)))
    info = json.loads((exp / "lang" / "lang.json").read_text()) | {"hash": lang_hash(exp / "lang")}
    (exp / "lang" / "lang.json").write_text(json.dumps(info))
    for options in ([], ["--epoch", "1"]):
        with pytest.raises(DataError, match="was trained with.*words would come out wrong"):
            decode(exp, tone_corpus, tmp_path, *options)
    shutil.copytree(other_lang, exp / "lang", dirs_exist_ok=True)
    with pytest.raises(DataError, match="was trained with"):
        load_model(exp)
    weights = torch.load(exp / "pretrained.pt", weights_only=True)["model"]
    with pytest.raises(DataError, match="do not fit"):
        load_model(exp, weights)


def test_iter_averages_over_the_checkpoints_up_to_it(tmp_path: Path) -> None:
    """model_avg of step n is the mean over the first n steps, so that of 10..30 is (30 * 4 - 10 * 1) / 20 = 5.5."""
    for step, value, mean in ((10, 1.0, 1.0), (20, 2.0, 3.0), (30, 6.0, 4.0), (40, 9.0, 9.0)):
        content = {"model": {"w": torch.tensor(value)}, "model_avg": {"w": torch.tensor(mean)}, "batch_idx_train": step}
        save_checkpoint(tmp_path / f"checkpoint-{step}.pt", content)
    options = ["--exp-dir", str(tmp_path), "--cuts", "x", "--iter", "30"]
    for more, expected in (
        (["--avg", "2", "--use-averaged-model", "true"], 5.5),
        (["--avg", "2", "--use-averaged-model", "false"], 4.0),
        (["--avg", "1", "--use-averaged-model", "0"], 6.0),
    ):
        weights, name = weights_of(parser().parse_args([*options, *more]))
        assert weights is not None and float(weights["w"]) == pytest.approx(expected)
        assert name == f"iter-30-avg-{more[1]}"
    with pytest.raises(DataError, match="needs 4 checkpoints"):
        weights_of(parser().parse_args([*options, "--avg", "3"]))


def test_language_model_of_the_file_is_not_for_a_method_that_takes_none(tmp_path: Path) -> None:
    scales = "lm_scale: 0.3, lodr_scale: 0.2, ilm_scale: 0.1"
    values = f"decode: {{decoding_method: modified_beam_search, {scales}, hotwords_file: a.txt}}"
    (tmp_path / "decode.yaml").write_text(values)
    options = ["--exp-dir", "exp/c/asr", "--cuts", "x", "--conf", str(tmp_path)]
    config = config_of(parser().parse_args(options))
    assert config.lm_dir == "exp/c/lm" and config.lodr_dir == "exp/c/lodr"
    name = "modified_beam_search-beam-size-4-lm-scale-0.3-lodr-scale-0.2-ilm-scale-0.1-hotwords-score-1.5"
    assert suffix_of(config, "", True) == name
    config = config_of(parser().parse_args([*options, "--lm-scale", "0"]))
    assert suffix_of(config, "", True) == "modified_beam_search-beam-size-4-hotwords-score-1.5"
    config = config_of(parser().parse_args([*options, "--decoding-method", "ctc_prefix_beam_search"]))
    assert suffix_of(config, "", True).endswith("-beam-size-4-lm-scale-0.3-lodr-scale-0.2-hotwords-score-1.5")
    config = config_of(parser().parse_args([*options, "--decoding-method", "greedy_search"]))
    assert not config.has_fusion and suffix_of(config, "epoch-2-avg-1", False) == "epoch-2-avg-1-greedy_search"


def test_files_of_a_configuration_are_found_from_another_folder(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.sh reads decode.yaml in the project's folder; python -m ml2021.asr.decode may run anywhere."""
    (tmp_path / "here.txt").touch()
    monkeypatch.chdir(tmp_path)
    for name, expected in (
        ("here.txt", "here.txt"),
        ("conf/mini/decode.yaml", str(project / "conf/mini/decode.yaml")),
        ("nowhere.txt", "nowhere.txt"),
    ):
        decode = {"decoding_method": "modified_beam_search", "hotwords_file": name}
        (tmp_path / "config.json").write_text(json.dumps({"decode": decode}))
        args = parser().parse_args(["--exp-dir", str(tmp_path), "--cuts", "x"])
        assert config_of(args).hotwords_file == expected


def test_without_conf_the_values_are_those_of_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    exp, conf = tmp_path / "asr", tmp_path / "conf"
    for folder in (exp, conf):
        folder.mkdir()
    (conf / "decode.yaml").write_text("decode: {beam_size: 7}")
    options = ["--exp-dir", str(exp), "--cuts", "x"]
    with pytest.raises(DataError, match=r"no .*config\.json"):
        config_of(parser().parse_args(options))
    (exp / "config.json").write_text("{}")
    assert config_of(parser().parse_args(options)) == DecodeConfig()
    assert "decoding with default values" in caplog.text
    config = DecodeConfig("modified_beam_search", beam_size=3, long_form=LongFormConfig(chunk=8.0))
    (exp / "config.json").write_text(json.dumps({"model": {}, "decode": to_mapping(config)}))
    assert experiment_decode_config(exp) == config == config_of(parser().parse_args(options))
    assert "the values that the model was trained with" in caplog.text
    assert config_of(parser().parse_args([*options, "--beam-size", "5"])).beam_size == 5
    assert config_of(parser().parse_args([*options, "--conf", str(conf)])).beam_size == 7
    assert f"decoding with the values of {conf / 'decode.yaml'}" in caplog.text
    (exp / "config.json").write_text('{"decode": {"beam_size": 0}}')
    with pytest.raises(ConfigError, match=r"config\.json: decode: beam_size must be > 0"):
        config_of(parser().parse_args(options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--long", "--cuts", "x"], "give --manifests DIR or --audio FILE"),
        (["--long", "--manifest-dir", "x"], "give --manifests DIR or --audio FILE"),
        (["--long"], "one of the arguments --cuts/--manifest-dir --manifests --audio is required"),
        ([], "one of the arguments --cuts/--manifest-dir --manifests --audio is required"),
        (["--cuts", "x", "--audio", "a.wav"], "not allowed with argument"),
        (["--manifests", "x", "--audio", "a.wav"], "not allowed with argument"),
    ],
)
def test_command_takes_either_windows_or_lectures(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        main(["--exp-dir", "x", *options])
    assert e.value.code == 2 and message in capsys.readouterr().err


def test_cuts_have_icefalls_name_too() -> None:
    for p in (parser(), streaming_parser()):
        for name in ("--cuts", "--manifest-dir"):
            assert p.parse_args(["--exp-dir", "x", name, "y"]).cuts == Path("y")
