"""The ways that code takes on a GPU, without one: no operation mixes devices, results are those of the CPU, and a GPU
is waited for a constant number of times (PretendCuda); the medium Zipformer with torch's own fake tensors too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.acoustic import log_prob_blocks
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.windows import AlignerTask, Window
from ml2021.asr.fusion.config import RnnLmConfig
from ml2021.asr.fusion.hotwords import Hotwords
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.fusion.ngram_scorer import NgramScorer
from ml2021.asr.fusion.rnn import RnnLm, RnnScorer
from ml2021.asr.fusion.scorer import Fusion, Scorer
from ml2021.asr.loss import rnnt_lattice
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import AsrModel, CtcModel, encoder_out_lens
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search import fast_beam_search as fast
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.greedy import choose_frame_by_frame
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.methods import search
from ml2021.asr.search.modified_beam_search import ModifiedBeam
from ml2021.asr.search.streaming import StreamingRecogniser, decode_chunk
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.task import TransducerTask
from ml2021.training.seeds import seed_everything
from ml2021.training.trainer import Trainer
from tests.ml2021.asr.zipformers import TWO_STACKS
from tests.ml2021.pretend_cuda import PretendCuda

LAYOUTS = Path(__file__).parents[3] / "conf" / "zipformer"
VOCAB = 11
CAUSAL = replace(TWO_STACKS, causal=True, chunk_size=(16,), left_context_frames=(32,))


def medium() -> TransducerConfig:
    return load_config(LAYOUTS / "medium.yaml", "model", TransducerConfig)


def features_of(lens: list[int]) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return 4 * torch.randn(len(lens), max(lens), 80, generator=g) - 8, torch.tensor(lens)


def small_model(encoder: ZipformerConfig = TWO_STACKS, rnnt_type: str = "modified") -> AsrModel:
    """A model whose tokens depend on the history."""
    torch.manual_seed(0)
    model = AsrModel(TransducerConfig(encoder, decoder_dim=16, joiner_dim=16, rnnt_type=rnnt_type), VOCAB).eval()
    with torch.no_grad():
        for p in [*model.joiner.parameters(), *model.ctc_output.parameters()]:
            p.mul_(4)
    return model


@pytest.fixture
def gpu() -> Iterator[PretendCuda]:
    with PretendCuda() as pretended:
        yield pretended


def test_pretended_gpu_refuses_what_a_gpu_refuses_and_records_waiting(gpu: PretendCuda) -> None:
    x, y = torch.arange(6.0).view(2, 3).to("cuda"), torch.ones(2, 3)
    gpu.clear()
    assert (x + 1).device.type == "cuda" and torch.zeros_like(x).is_cuda and torch.zeros(2, device=x.device).is_cuda
    assert torch.equal((x * torch.tensor(2.0)).values, 2 * x.values)  # a single number may be on the CPU
    for mixed in (lambda: x + y, lambda: x @ y.T, lambda: torch.cat([x, y]), lambda: x.gather(1, y.long())):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    for not_there in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="copy it to the CPU first"):
            not_there()
    assert gpu.syncs == [] and gpu.uploads == []
    waits: list[Callable[[], Any]] = [
        lambda: x.sum().item(), lambda: bool((x > 1).any()), lambda: float(x[0, 0]), x.tolist, x.cpu,
        lambda: x.to("cpu"), lambda: x.nonzero(), lambda: x[x > 2], lambda: torch.empty(2, 3).copy_(x),
        lambda: x[:, : x[0].long().max()],
    ]  # fmt: skip
    for n, wait in enumerate(waits, 1):
        wait()
        assert len(gpu.syncs) == n, gpu.syncs
    assert gpu.uploads == []
    y.to("cuda", non_blocking=True)
    assert gpu.uploads == []
    y.to(x)
    x[torch.tensor([0])]
    torch.tensor([1], device="cuda")
    assert len(gpu.uploads) == 3


@pytest.mark.slow
def test_medium_zipformer_with_fake_tensors() -> None:
    """torch's own rules for devices. Fake tensors have no values, so nothing may depend on them; gradients need more.

    Under torch's FakeTensorMode, `.item()` raises an error.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # imports sympy

    with FakeTensorMode(), torch.no_grad():
        with torch.device("cuda"):
            model = AsrModel(medium(), 500).eval()
            features, lens = torch.empty(3, 200, 80), torch.empty(3, dtype=torch.int64)
        encoder_out, out_lens = model._encode(features, lens, 0)
        log_probs = model.ctc_output(encoder_out)
        decoder_out = model.decoder(torch.zeros(3, 9, dtype=torch.int64, device="cuda"))
        am, lm = model.joiner.encoder_proj(encoder_out), model.joiner.decoder_proj(decoder_out)
        logits = model.joiner(am[:, :, None], lm[:, None])
        tokens, probs = choose_frame_by_frame(model, am[:, :5], out_lens, 0.5)
        beam = ModifiedBeam(model, 3, 4)
        beam.advance(encoder_out[:, :5], out_lens)
    assert logits.shape == (3, 48, 9, 500) and log_probs.shape == (3, 48, 500)
    assert {x.device.type for x in (logits, log_probs, out_lens, tokens, probs, beam.log_probs)} == {"cuda"}


def losses_and_gradients(
    model: AsrModel, features: Tensor, lens: Tensor, tokens: list[list[int]]
) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(1)
    set_batch_count(model.train(), 100.0)
    losses = transducer_losses(model, features, lens, tokens)
    model.zero_grad(set_to_none=True)
    (losses.simple + losses.pruned + losses.ctc).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return [float(x.detach()) for x in (losses.simple, losses.pruned, losses.ctc)], gradients


@pytest.fixture
def torch_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Triton kernel reads the memory of a real GPU; it has its own tests."""
    for name in ("triton_is_there", "has_triton", "use_triton"):
        if hasattr(rnnt_lattice, name):
            monkeypatch.setattr(rnnt_lattice, name, lambda *_: False)


@pytest.mark.usefixtures("torch_lattice")
@pytest.mark.parametrize("rnnt_type", ["modified", "regular", "constrained"])
def test_losses_and_gradients_on_a_gpu_are_those_of_the_cpu(rnnt_type: str, gpu: PretendCuda) -> None:
    model, tokens = small_model(rnnt_type=rnnt_type), [[3, 4, 5, 5], [], [6, 7]]
    features, lens = features_of([100, 60, 81])
    expected, expected_gradients = losses_and_gradients(model, features, lens, tokens)
    expected_gradients = {name: g.clone() for name, g in expected_gradients.items()}
    model.to("cuda")
    moved = features.to("cuda")
    gpu.clear()
    losses, gradients = losses_and_gradients(model, moved, lens, tokens)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert gradients.keys() == expected_gradients.keys()
    for name, g in gradients.items():
        assert g.is_cuda
        torch.testing.assert_close(g.cpu(), expected_gradients[name], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("torch_lattice")
def test_medium_zipformer_learns_on_a_gpu_and_waits_for_it_twice(gpu: PretendCuda) -> None:
    """In a step's forward and backward pass; the CTC loss needs its lengths on the CPU."""
    torch.manual_seed(0)
    model = AsrModel(medium(), 50).to("cuda").train()
    set_batch_count(model, 0.0)  # when the regularisers act most
    features, lens = features_of([60, 41])
    features = features.to("cuda")
    gpu.clear()
    losses = transducer_losses(model, features, lens, [[3, 4, 5], [6]])
    (losses.simple + losses.pruned + losses.ctc).backward()
    assert len(gpu.syncs) <= 2 and gpu.uploads == [], (gpu.syncs, gpu.uploads)
    assert all(p.grad is None or p.grad.is_cuda for p in model.parameters())
    assert sum(p.grad is not None for p in model.parameters()) > 700


@pytest.mark.usefixtures("torch_lattice")
@pytest.mark.parametrize("use_cr_ctc", [False, True])
def test_step_of_the_training_loop_waits_for_a_gpu_three_times(
    tone_corpus: Any, config: AsrConfig, tmp_path: Path, gpu: PretendCuda, use_cr_ctc: bool
) -> None:
    """Loaded batches, losses, gradients, update and what is logged."""
    model = replace(config.model, use_cr_ctc=use_cr_ctc)
    config = replace(config, model=model, train=replace(config.train, average_period=1000))
    torch.manual_seed(0)
    tokens = load_lang(tone_corpus.lang)
    data = AsrDataModule(tone_corpus.cuts, config.data, config.train.seed, use_cr_ctc)
    task = TransducerTask(data, tokens, "hash", config)
    device = torch.device("cuda", 0)
    trainer = Trainer(AsrModel(config.model, len(tokens)), task, config.train, tmp_path, device)
    trainer.model.train()
    counts = []
    for group in islice(trainer.groups(1), 2):
        gpu.clear()
        result = trainer._train_step(group)
        assert result is not None and np.isfinite(result[1])
        counts.append(len(gpu.syncs))
        assert gpu.uploads == []
    assert max(counts) <= 3, gpu.syncs


def test_lengths_of_encoder_out_are_known_without_the_encoder() -> None:
    model = small_model()
    features, lens = features_of([1, 8, 9, 10, 11, 12, 13, 77, 100])
    assert torch.equal(model.forward_encoder(features, lens)[1], encoder_out_lens(lens))


def ngram(device: torch.device) -> Scorer:
    symbols = ["<blk>", "<sos/eos>", "<unk>", *"abcdefgh"]
    sentences = [list("abcabd"), list("abch"), list("efg"), list("gaab"), list("hhab")] * 3
    return NgramScorer(train_ngram(sentences, symbols[2:], 3), symbols, 0.7, device)


def lstm(device: torch.device) -> Scorer:
    torch.manual_seed(0)
    return RnnScorer(RnnLm(RnnLmConfig(dim=8), VOCAB).to(device), 2.0, 1)


def language_model_and_hotwords(device: torch.device) -> Scorer:
    return Fusion([ngram(device), Hotwords({(3, 4): 1.0, (5,): 0.5}, VOCAB, device)])


SEARCHES = [
    ("greedy_search", None),
    ("modified_beam_search", None),
    ("modified_beam_search", ngram),
    ("modified_beam_search", lstm),
    ("modified_beam_search", language_model_and_hotwords),
    ("ctc_greedy_search", None),
    ("ctc_prefix_beam_search", None),
    ("ctc_prefix_beam_search", language_model_and_hotwords),
    ("beam_search", ngram),
]


@pytest.mark.parametrize(("method", "scorer"), SEARCHES, ids=lambda x: getattr(x, "__name__", x))
def test_search_on_a_gpu_is_that_of_the_cpu_and_waits_a_constant_number_of_times(
    method: str, scorer: Callable[[torch.device], Scorer] | None, gpu: PretendCuda
) -> None:
    is_sequential = method == "beam_search"  # one utterance and one token after another, as in icefall
    model = small_model(rnnt_type="regular" if is_sequential else "modified")
    config = SearchConfig(method, hotwords_file=None if scorer is None else "terms.txt", max_sym_per_frame=2)
    features, lens = features_of([41, 12, 30] if is_sequential else [90, 30, 61])
    with torch.no_grad():
        expected = search(model, features, lens, config, scorer and scorer(torch.device("cpu")))
    assert sum(len(h.tokens) for h in expected) > 3
    model.to("cuda")
    fusion = scorer and scorer(torch.device("cuda"))
    waits = []
    for count in (3,) if is_sequential else (1, 3):
        gpu.clear()
        hypotheses = search(model, features[:count], lens[:count], config, fusion)
        assert_same(hypotheses, expected[:count])
        waits.append(len(gpu.syncs))
    if not is_sequential:
        gpu.clear()
        search(model, features[:, :30], torch.tensor([30, 20, 25]), config, fusion)
        assert waits == [len(gpu.syncs)] * 2 and waits[0] <= 4, gpu.syncs
        assert len(gpu.uploads) == 1 and "search/methods.py" in gpu.uploads[0], gpu.uploads  # the features


def assert_same(hypotheses: list[Hypothesis], expected: list[Hypothesis]) -> None:
    for a, b in zip(hypotheses, expected, strict=True):
        assert a.tokens == b.tokens and a.frames == b.frames
        assert a.scores == pytest.approx(b.scores, abs=2e-4)


class StubK2:
    """What fast_beam_search calls of k2, on one device: one context an utterance, whose tokens are the best ones."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.contexts = torch.zeros(0)
        self.best: list[Tensor] = []
        self.RnntDecodingConfig = dict
        self.RnntDecodingStream = lambda graph: graph

    def trivial_graph(self, max_token: int, device: torch.device) -> str:
        assert device == self.device
        return "graph"

    def RnntDecodingStreams(self, streams: list[str], config: dict[str, Any]) -> StubK2:
        self.contexts = torch.zeros(len(streams), config["decoder_history_len"], dtype=torch.int32, device=self.device)
        return self

    def get_contexts(self) -> tuple[StubK2, Tensor]:
        return self, self.contexts

    def row_ids(self, axis: int) -> Tensor:
        return torch.arange(len(self.contexts), dtype=torch.int32, device=self.device)

    def advance(self, log_probs: Tensor) -> None:
        assert log_probs.device == self.device
        best = log_probs.argmax(dim=1, keepdim=True)
        self.best.append(best)
        moved = torch.cat([self.contexts[:, 1:], best.to(torch.int32)], dim=1)
        self.contexts = torch.where(best == 0, self.contexts, moved)

    def terminate_and_flush_to_streams(self) -> None: ...

    def format_output(self, lens: list[int]) -> list[list[int]]:
        return [row[:n] for row, n in zip(torch.cat(self.best, dim=1).tolist(), lens)]


@pytest.mark.parametrize("graph", [None, "LG"])
def test_lattice_of_fast_beam_search_stays_on_one_device(graph: Any, gpu: PretendCuda) -> None:
    """The part of these searches that is not k2's own."""
    model = small_model()
    with torch.no_grad():
        features, lens = features_of([90, 40])
        encoder_out, out_lens = model.forward_encoder(features, lens)
        lattices = []
        for device in (torch.device("cpu"), torch.device("cuda", 0)):
            model.to(device)
            inputs = encoder_out.to(device), out_lens.to(device)
            gpu.clear()
            lattices.append(fast.decoding_lattice(StubK2(device), model, *inputs, fast.FastBeam(), graph))
    assert lattices[0] == lattices[1] and any(any(row) for row in lattices[0])
    assert len(gpu.syncs) == 2 and gpu.uploads == []  # the result and its lengths


@pytest.mark.parametrize("beam", [None, 3])
def test_streams_on_a_gpu_are_those_of_the_cpu(beam: int | None, gpu: PretendCuda) -> None:
    model = small_model(CAUSAL)
    features, _ = features_of([150])

    def results() -> list[Hypothesis]:
        streams = [StreamingRecogniser(model, beam=beam) for _ in range(2)]
        for stream, x in zip(streams, (features[0], features[0].flip(0))):
            stream.queue(x)
            stream.queue_end()
        while all(stream.is_ready for stream in streams):
            decode_chunk(streams)
        return [stream.result for stream in streams]

    expected = results()
    assert sum(len(h.tokens) for h in expected) > 8
    model.to("cuda")
    assert_same(results(), expected)


@pytest.mark.parametrize("guided_steps", [0, 1])
def test_aligner_on_a_gpu_is_that_of_the_cpu(guided_steps: int, gpu: PretendCuda) -> None:
    torch.manual_seed(0)
    model = CtcModel(TWO_STACKS, VOCAB)
    features, lens = features_of([130, 90])
    windows = [
        Window(x[:n].numpy(), [3, 4, 5], [step % VOCAB for step in range(t)])
        for x, n, t in zip(features, lens.tolist(), encoder_out_lens(lens).tolist())
    ]
    task = AlignerTask(windows, AlignerConfig(encoder=TWO_STACKS, guided_steps=guided_steps))
    results = []
    for device in ("cpu", "cuda"):
        model.to(device)
        seed_everything(1)
        gpu.clear()
        loss = task.compute_loss(model.train(), [0, 1], 0).loss
        loss.backward()
        num_waits = len(gpu.syncs)
        blocks = list(log_prob_blocks(model.eval(), windows[0][0], torch.device(device), chunk=60, context=20))
        results.append((float(loss.detach()), np.concatenate(blocks)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-4)
    assert num_waits <= 3, gpu.syncs
