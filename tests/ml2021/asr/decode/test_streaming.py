"""Streaming decoding from the command line: the tokens of the offline simulation, icefall's files, wrong options."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lhotse import CutSet

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.entry import hyphenated
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.decode.config import DecodeConfig, StreamingConfig
from ml2021.asr.decode.streaming import main
from ml2021.asr.decode.streams import decode_streams, with_chunk
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import SILENCE, AsrModel
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.methods import search_encoder_out
from ml2021.asr.search.streaming import LOOK_AHEAD, StreamingRecogniser, decode_chunk, joined_states, split_states
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import read_asr_config
from ml2021.scoring.texts import read_texts
from ml2021.training.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def causal_dir(tone_corpus, config: AsrConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """An experiment folder with a causal model whose random weights emit many kinds of tokens."""
    folder = tmp_path_factory.mktemp("causal")
    encoder = replace(config.model.encoder, causal=True, chunk_size=(-1, 16, 32), left_context_frames=(32, 64, -1))
    config = replace(config, model=replace(config.model, encoder=encoder))
    (folder / "lang").symlink_to(tone_corpus.lang)
    torch.manual_seed(2)
    model = AsrModel(config.model, len(load_lang(tone_corpus.lang)))
    with torch.no_grad():
        for layer in (model.joiner.output_linear, model.joiner.encoder_proj, model.joiner.decoder_proj):
            layer.weight.mul_(20)
        model.joiner.output_linear.bias[2] = -1e6  # <unk>, which is no word
    write_json(folder / "config.json", to_mapping(config))
    for name in ("pretrained.pt", "epoch-1.pt"):
        save_checkpoint(folder / name, {"model": model.state_dict()})
    return folder


def streaming_model(exp_dir: Path, chunk: int | None = None, left: int | None = None) -> tuple[AsrModel, TokenTable]:
    """The model of an experiment with a chunk size and left context to stream with."""
    trained, tokens = load_model(exp_dir)
    config = read_asr_config(exp_dir)
    encoder = with_chunk(config.model.encoder, chunk, left, exp_dir)
    model = AsrModel(replace(config.model, encoder=encoder), len(tokens)).eval()
    model.load_state_dict(trained.state_dict())
    return model, tokens


def run(exp_dir: Path, corpus, *options: str) -> None:  # type: ignore[no-untyped-def]
    main(hyphenated(["--exp-dir", str(exp_dir), "--cuts", str(corpus.cuts), "--part", "dev", *options]))


@torch.no_grad()
def simulated(model: AsrModel, features: torch.Tensor, config: DecodeConfig) -> Hypothesis:
    """Decode features (T, F) offline, with the silence at the end of a stream, up to the stream's last chunk."""
    shift = 2 * model.config.encoder.chunk_size[0]
    whole = torch.cat([features, torch.full((shift + LOOK_AHEAD + 10, 80), SILENCE)])
    encoder_out, _ = model.forward_encoder(whole[None], torch.tensor([len(whole)]))
    num_frames = -(-len(features) // shift) * shift // 4
    return search_encoder_out(model, encoder_out[:, :num_frames], torch.tensor([num_frames]), config)[0]


@pytest.mark.parametrize("method", ["greedy_search", "modified_beam_search"])
@pytest.mark.parametrize(("chunk", "left"), [(None, None), (32, 64)])
@pytest.mark.parametrize("num_streams", ["1", "3"])
def test_command_gives_the_tokens_of_the_offline_simulation(  # type: ignore[no-untyped-def]
    causal_dir, tone_corpus, tmp_path, method, chunk, left, num_streams
) -> None:
    options = [] if chunk is None else ["--chunk-size", str(chunk), "--left_context_frames", str(left)]
    run(
        causal_dir,
        tone_corpus,
        "--decoding-method",
        method,
        "--num-decode-streams",
        num_streams,
        "--out-dir",
        str(tmp_path),
        "--num-active-paths",
        "3",
        *options,
    )
    model, tokens = streaming_model(causal_dir, chunk, left)
    encoder = model.config.encoder
    assert (encoder.chunk_size, encoder.left_context_frames) == ((chunk or 16,), (left or 32,))
    hypotheses = read_texts(next(tmp_path.glob("recogs-dev-*.txt")), "hyp")
    cuts = CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_dev.jsonl.gz")
    assert hypotheses.keys() == {cut.id for cut in cuts}
    kinds: set[int] = set()
    for cut in cuts:
        features = torch.from_numpy(cut.load_features())
        hypothesis = simulated(model, features, DecodeConfig(method, beam_size=3))
        assert hypotheses[cut.id] == tokens.decode(hypothesis.tokens)
        kinds |= set(hypothesis.tokens)
        assert len(hypothesis.tokens) > 3
    assert len(kinds) > 3


def test_files_are_icefalls_and_have_the_computing_time(causal_dir, tone_corpus) -> None:  # type: ignore[no-untyped-def]
    run(causal_dir, tone_corpus, "--epoch", "1", "--use-averaged-model", "0", "--blank-penalty", "0.5")
    name = "epoch-1-avg-1-streaming-greedy_search-chunk-size-16-left-context-frames-32-blank-penalty-0.5"
    folder = causal_dir / "streaming" / "greedy_search"
    kinds = ("recogs", "errs", "wer-summary", "mer")
    assert {p.name for p in folder.iterdir()} == {f"{k}-dev-{name}.txt" for k in kinds} | {f"scores-dev-{name}.json"}
    scores = json.loads((folder / f"scores-dev-{name}.json").read_text())
    assert scores["streaming"]["wait_seconds_least"] == 0.13 and scores["streaming"]["wait_seconds_most"] == 0.45
    assert 0 < scores["streaming"]["rtf"] < 10 and scores["mer_windows"]["mer"] > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--chunk-size", "24"], ConfigError, r"--chunk-size 24: .* trained with 16, 32; take one of these"),
        (["--chunk-size", "-1"], ConfigError, r"--chunk-size -1: .* trained with 16, 32; take one of these"),
        (
            ["--left-context-frames", "128"],
            ConfigError,
            r"--left-context-frames 128: .* with 32, 64; take one of these",
        ),
        (["--epoch", "7"], DataError, r"no checkpoint.*epoch-7\.pt"),
        (["--blank-penalty", "nan"], ConfigError, "blank_penalty must be a finite number, got nan"),
        (["--num-decode-streams", "0"], ConfigError, "num_decode_streams must be >= 1, got 0"),
        (["--part", "test"], DataError, "the test part has no windows"),
    ],
)
def test_wrong_options_are_errors(causal_dir, tone_corpus, options, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        run(causal_dir, tone_corpus, *options)


def test_a_model_that_needs_the_whole_utterance_is_refused(trained, causal_dir, tone_corpus) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="not causal.*ml2021.asr.decode.*--causal 1"):
        run(trained, tone_corpus)
    encoder = read_asr_config(causal_dir).model.encoder
    with pytest.raises(ConfigError, match="chunk_size -1 alone"):
        with_chunk(replace(encoder, chunk_size=(-1,)), None, None, causal_dir)


def test_streams_that_begin_and_end_at_different_times_are_independent(causal_dir) -> None:  # type: ignore[no-untyped-def]
    model, _ = streaming_model(causal_dir)
    generator = torch.Generator().manual_seed(0)
    inputs = [4 * torch.randn(n, 80, generator=generator) - 8 for n in (400, 90, 250)]
    alone = []
    for x in inputs:
        stream = StreamingRecogniser(model)
        stream.accept(x)
        alone.append(stream.finish())
    streams = [StreamingRecogniser(model) for _ in inputs]
    num_queued = defaultdict(int)
    for step in range(30):
        for k in (0, 1, 2):
            if step >= 2 * k:
                streams[k].queue(inputs[k][num_queued[k] : num_queued[k] + 20 + 7 * k])
                num_queued[k] += 20 + 7 * k
        if ready := [s for s in streams if s.is_ready]:
            decode_chunk(ready[::-1])
    assert [stream.finish() for stream in streams] == alone
    assert all(len(h.tokens) > 2 for h in alone)


def test_states_of_streams_join_and_part_again(causal_dir) -> None:  # type: ignore[no-untyped-def]
    model, _ = streaming_model(causal_dir)
    states = [[torch.randn(x.shape) for x in model.initial_states()] for _ in range(3)]
    joined = joined_states(states)
    assert [x.shape for x in joined] == [x.shape for x in model.initial_states(3)]
    for state, back in zip(states, split_states(joined)):
        assert all(torch.equal(a, b) for a, b in zip(state, back, strict=True))


def test_order_of_cuts_and_number_of_streams_change_no_text(causal_dir, tone_corpus) -> None:  # type: ignore[no-untyped-def]
    model, tokens = streaming_model(causal_dir)
    cuts = list(CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_dev.jsonl.gz"))
    one, timing = decode_streams(model, tokens, cuts, StreamingConfig(num_decode_streams=1))
    assert decode_streams(model, tokens, cuts[::-1], StreamingConfig(num_decode_streams=3))[0] == one
    shift = 2 * model.config.encoder.chunk_size[0]
    assert len(timing.steps) == sum(-(-cut.num_frames // shift) for cut in cuts)
    assert timing.audio == pytest.approx(sum(cut.duration for cut in cuts))
