"""The pruned transducer loss, compared with k2's results and with a sum over all paths, and its invariants.

Legend: B batch, T frames, S symbols, V vocabulary, R s_range.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.loss import rnnt_lattice
from ml2021.asr.loss.rnnt_lattice import lattice_numba, lattice_torch
from ml2021.asr.loss.rnnt_loss import (
    RNNT_TYPES,
    do_rnnt_pruning,
    get_rnnt_prune_ranges,
    rnnt_functions,
    rnnt_loss_pruned,
    rnnt_loss_smoothed,
)

GOLDENS = sorted((Path(__file__).parents[3] / "goldens").glob("rnnt_*.npz"))
INFINITE = float("inf")


def boundary_of(symbol_lens: list[int], frame_lens: list[int]) -> Tensor:
    return torch.tensor([[0, 0, s, t] for s, t in zip(symbol_lens, frame_lens)])


def random_problem(seed: int, symbol_lens: list[int], frame_lens: list[int], vocab: int = 6) -> dict[str, Tensor]:
    """Padded scores and symbols of a batch."""
    g = torch.Generator().manual_seed(seed)
    batch, num_symbols, num_frames = len(symbol_lens), max(symbol_lens), max(frame_lens)
    return {
        "am": torch.randn(batch, num_frames, vocab, generator=g),
        "lm": torch.randn(batch, num_symbols + 1, vocab, generator=g),
        "symbols": torch.randint(1, vocab, (batch, num_symbols), generator=g),
        "boundary": boundary_of(symbol_lens, frame_lens),
    }


def rnnt_loss_full(
    logits: Tensor, symbols: Tensor, blank: int, boundary: Tensor, rnnt_type: str = "regular", penalty: float = 0.0
) -> Tensor:
    """The unpruned loss: logits (B, T, S + 1, V) -> (B,)."""
    ranges = torch.arange(symbols.shape[1] + 1, device=logits.device).expand(*logits.shape[:2], -1)
    return rnnt_loss_pruned(logits, symbols, ranges, blank, boundary, rnnt_type, penalty)


@pytest.fixture(params=["numba", "torch"])
def recursion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both implementations of the recursions over the lattice; a GPU runs the one in torch."""
    if request.param == "torch":
        monkeypatch.setattr(rnnt_lattice, "numba", None)
    return request.param


@pytest.mark.parametrize("path", GOLDENS, ids=lambda p: p.stem)
def test_results_are_those_of_k2(path: Path, recursion: str) -> None:
    golden = {k: torch.from_numpy(v) for k, v in np.load(path).items() if v.dtype.kind in "fi"}
    rnnt_type = str(np.load(path)["rnnt_type"])
    symbols, boundary = golden["symbols"], golden["boundary"]
    am, lm = (golden[k].clone().requires_grad_() for k in ("am", "lm"))
    penalty = float(golden["delay_penalty"])
    simple, (px_grad, py_grad) = rnnt_loss_smoothed(
        lm, am, symbols, 0, boundary, float(golden["lm_only_scale"]), float(golden["am_only_scale"]), rnnt_type, penalty
    )
    ranges = get_rnnt_prune_ranges(px_grad, py_grad, boundary, int(golden["s_range"]))
    am_pruned, lm_pruned = do_rnnt_pruning(am, lm, ranges)
    logits = 3 * torch.tanh(am_pruned + lm_pruned)
    pruned = rnnt_loss_pruned(logits, symbols, ranges, 0, boundary, rnnt_type, penalty)
    full_logits = 3 * torch.tanh(am[:, :, None] + lm[:, None])
    full = rnnt_loss_full(full_logits, symbols, 0, boundary, rnnt_type, penalty)
    (0.5 * simple.sum() + pruned.sum()).backward()
    results = {"simple": simple, "px_grad": px_grad, "py_grad": py_grad, "pruned": pruned, "full": full}
    results |= {"am_grad": am.grad, "lm_grad": lm.grad}
    for name, value in results.items():
        torch.testing.assert_close(value.detach(), golden[name], atol=2e-4, rtol=1e-4, msg=lambda m: f"{name}: {m}")  # noqa: B023
    for b, (_, _, _, num_frames) in enumerate(boundary.tolist()):
        assert torch.equal(ranges[b, :num_frames], golden["ranges"][b, :num_frames])


def test_goldens_cover_all_types_and_scales() -> None:
    assert {t for t in RNNT_TYPES if any(t in p.stem for p in GOLDENS)} == set(RNNT_TYPES)
    assert any("dp0.1" in p.stem for p in GOLDENS) and any("am0.2" in p.stem for p in GOLDENS)


def sum_over_paths(log_probs: Tensor, symbols: list[int], num_frames: int, rnnt_type: str, penalty: float) -> Tensor:
    """Minus the log of the summed probability of all paths, enumerated one by one; log_probs (T, S + 1, V)."""
    middle = (num_frames - 1) / 2

    def paths(s: int, t: int) -> list[Tensor]:
        """Log-probs of all paths from position s at frame t to the end."""
        if t == num_frames:
            return [log_probs.new_zeros(())] if s == len(symbols) else []
        ways = [log_probs[t, s, 0] + rest for rest in paths(s, t + 1)]
        if s < len(symbols):
            step = log_probs[t, s, symbols[s]] + (middle - t) * penalty
            if rnnt_type == "constrained":
                step = step + log_probs[t, s + 1, 0]
            ways += [step + rest for rest in paths(s + 1, t if rnnt_type == "regular" else t + 1)]
        return ways

    all_paths = paths(0, 0)
    return -torch.logsumexp(torch.stack(all_paths), 0) if all_paths else torch.tensor(INFINITE)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize(("num_symbols", "num_frames"), [(1, 1), (2, 5), (3, 3), (4, 6), (3, 2), (1, 6)])
def test_full_lattice_is_the_sum_over_all_paths(
    rnnt_type: str, penalty: float, num_symbols: int, num_frames: int
) -> None:
    p = random_problem(num_symbols + 10 * num_frames, [num_symbols], [num_frames])
    logits = torch.tanh(p["am"][:, :, None] + p["lm"][:, None]).mul(2).requires_grad_()
    loss = rnnt_loss_full(logits, p["symbols"], 0, p["boundary"], rnnt_type, penalty)
    log_probs = logits[0].log_softmax(dim=2)
    expected = sum_over_paths(log_probs, p["symbols"][0].tolist(), num_frames, rnnt_type, penalty)
    torch.testing.assert_close(loss[0], expected.to(loss.dtype), atol=1e-4, rtol=1e-5)
    if torch.isfinite(expected):
        (gradient,) = torch.autograd.grad(loss[0], logits, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected, logits)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_simple_loss_is_the_full_loss_of_the_additive_joiner(rnnt_type: str) -> None:
    p = random_problem(5, [4, 2], [9, 7])
    simple, _ = rnnt_loss_smoothed(p["lm"], p["am"], p["symbols"], 0, p["boundary"], 0.0, 0.0, rnnt_type)
    logits = p["am"][:, :, None] + p["lm"][:, None]
    torch.testing.assert_close(simple, rnnt_loss_full(logits, p["symbols"], 0, p["boundary"], rnnt_type))


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
@pytest.mark.parametrize("seed", range(10))
def test_ranges_are_bands_that_a_path_can_follow(rnnt_type: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame_lens = rng.integers(8, 30, 3).tolist()
    symbol_lens = [int(rng.integers(1, min(n, 9))) for n in frame_lens]
    p = random_problem(seed, symbol_lens, frame_lens)
    s_range = int(rng.integers(2, 6))
    _, counts = rnnt_loss_smoothed(3 * p["lm"], 3 * p["am"], p["symbols"], 0, p["boundary"], 0.25, 0.0, rnnt_type)
    ranges = get_rnnt_prune_ranges(*counts, p["boundary"], s_range)
    width = min(s_range, max(symbol_lens) + 1)
    rise = width - 1 if rnnt_type == "regular" else 1
    assert (ranges[..., 1:] - ranges[..., :-1] == 1).all() and ranges.shape[2] == width
    for band, num_symbols, num_frames in zip(ranges[..., 0].tolist(), symbol_lens, frame_lens, strict=True):
        band = band[:num_frames]
        assert band[0] == 0 and band[-1] == max(0, num_symbols + 1 - width)
        assert all(0 <= b - a <= rise for a, b in zip(band, band[1:], strict=False))


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
@pytest.mark.parametrize("seed", range(5))
def test_padding_changes_no_loss(rnnt_type: str, seed: int, recursion: str) -> None:
    symbol_lens, frame_lens = [7, 2, 4], [20, 26, 11]
    p = random_problem(seed, symbol_lens, frame_lens)

    def losses(am: Tensor, lm: Tensor, symbols: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        simple, counts = rnnt_loss_smoothed(lm, am, symbols, 0, boundary, 0.25, 0.0, rnnt_type)
        ranges = get_rnnt_prune_ranges(*counts, boundary, 3)
        am_pruned, lm_pruned = do_rnnt_pruning(am, lm, ranges)
        logits = 3 * torch.tanh(am_pruned + lm_pruned)
        full = rnnt_loss_full(am[:, :, None] + lm[:, None], symbols, 0, boundary, rnnt_type)
        return simple, rnnt_loss_pruned(logits, symbols, ranges, 0, boundary, rnnt_type), full

    together = losses(**p)
    for b, (s, t) in enumerate(zip(symbol_lens, frame_lens)):
        one = slice(b, b + 1)
        alone = losses(p["am"][one, :t], p["lm"][one, : s + 1], p["symbols"][one, :s], p["boundary"][one])
        for a, c in zip(alone, together, strict=True):
            torch.testing.assert_close(a, c[one])


def test_pruned_loss_with_every_position_is_the_full_loss() -> None:
    p = random_problem(0, [5, 3], [12, 9])
    ranges = torch.arange(6).expand(2, 12, -1)
    logits = torch.tanh(p["am"][:, :, None] + p["lm"][:, None])
    pruned = rnnt_loss_pruned(logits, p["symbols"], ranges, 0, p["boundary"])
    torch.testing.assert_close(pruned, rnnt_loss_full(logits, p["symbols"], 0, p["boundary"]))


@pytest.mark.parametrize("rnnt_type", ["modified", "constrained"])
def test_more_symbols_than_frames_is_infinite_and_its_neighbours_learn(rnnt_type: str, recursion: str) -> None:
    p = random_problem(1, [5, 2], [3, 4])
    logits = (p["am"][:, :, None] + p["lm"][:, None]).requires_grad_()
    loss = rnnt_loss_full(logits, p["symbols"], 0, p["boundary"], rnnt_type)
    assert loss[0] == INFINITE and torch.isfinite(loss[1])
    torch.where(torch.isfinite(loss), loss, torch.zeros_like(loss)).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[0].any() and logits.grad[1].any()


def test_band_that_cannot_reach_the_last_symbol_is_infinite_and_its_neighbours_learn(recursion: str) -> None:
    p = random_problem(2, [9, 4], [3, 8])
    am, lm = p["am"].requires_grad_(), p["lm"].requires_grad_()
    simple, counts = rnnt_loss_smoothed(lm, am, p["symbols"], 0, p["boundary"], 0.25, 0.0)
    ranges = get_rnnt_prune_ranges(*counts, p["boundary"], 3)
    logits = torch.tanh(sum(do_rnnt_pruning(am, lm, ranges)))
    pruned = rnnt_loss_pruned(logits, p["symbols"], ranges, 0, p["boundary"])
    assert torch.isfinite(simple).all() and pruned[0] == INFINITE and torch.isfinite(pruned[1])
    torch.where(torch.isfinite(pruned), pruned, torch.zeros_like(pruned)).sum().backward()
    assert torch.isfinite(am.grad).all() and torch.isfinite(lm.grad).all() and am.grad[1].any()


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_occupation_counts_visit_every_symbol_once(rnnt_type: str) -> None:
    p = random_problem(3, [4, 2], [9, 6])
    _, (px_grad, py_grad) = rnnt_loss_smoothed(p["lm"], p["am"], p["symbols"], 0, p["boundary"], 0.25, 0.0, rnnt_type)
    for b, (_, _, num_symbols, num_frames) in enumerate(p["boundary"].tolist()):
        torch.testing.assert_close(px_grad[b, :num_symbols].sum(dim=1), torch.ones(num_symbols))
        blanks = num_frames if rnnt_type == "regular" else num_frames - num_symbols
        torch.testing.assert_close(py_grad[b].sum(), torch.tensor(float(blanks)))


def test_unknown_rnnt_type_is_refused() -> None:
    p = random_problem(0, [2], [4])
    with pytest.raises(ValueError, match="rnnt_type"):
        rnnt_loss_smoothed(p["lm"], p["am"], p["symbols"], 0, p["boundary"], rnnt_type="wild")


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_empty_text_is_a_blank_in_every_frame(rnnt_type: str, recursion: str) -> None:
    p = random_problem(4, [3, 0], [8, 6])
    logits = (p["am"][:, :, None] + p["lm"][:, None]).requires_grad_()
    loss = rnnt_loss_full(logits, p["symbols"], 0, p["boundary"], rnnt_type)
    expected = -logits.log_softmax(dim=3)[1, :6, 0, 0].sum()
    torch.testing.assert_close(loss[1], expected)
    simple, counts = rnnt_loss_smoothed(p["lm"], p["am"], p["symbols"], 0, p["boundary"], 0.0, 0.0, rnnt_type)
    torch.testing.assert_close(simple[1], expected)
    ranges = get_rnnt_prune_ranges(*counts, p["boundary"], 2)
    pruned = torch.stack(do_rnnt_pruning(p["am"], p["lm"], ranges)).sum(dim=0)
    torch.testing.assert_close(rnnt_loss_pruned(pruned, p["symbols"], ranges, 0, p["boundary"], rnnt_type)[1], expected)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_no_frames_is_infinite(rnnt_type: str, recursion: str) -> None:
    p = random_problem(5, [2, 2], [4, 0])
    simple, counts = rnnt_loss_smoothed(p["lm"], p["am"], p["symbols"], 0, p["boundary"], 0.0, 0.0, rnnt_type)
    assert torch.isfinite(simple[0]) and simple[1] == INFINITE
    assert not counts[0][1].any() and not counts[1][1].any()


@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_both_recursions_agree(regular: bool, seed: int) -> None:
    """Values and counts agree, with impossible arcs, texts that are too long or empty, and random padding."""
    rng = np.random.default_rng(seed)
    g = torch.Generator().manual_seed(seed)
    frame_lens = rng.integers(0, 15, 6).tolist()
    symbol_lens = rng.integers(0, 9, 6).tolist()
    batch, num_symbols, num_frames = 6, max(*symbol_lens, 1), max(*frame_lens, 1)
    px = 2 * torch.randn(batch, num_symbols, num_frames + regular, generator=g)
    py = 2 * torch.randn(batch, num_symbols + 1, num_frames, generator=g)
    px[torch.rand(px.shape, generator=g) < 0.1] = -INFINITE
    if regular:
        px[:, :, -1] = -INFINITE
    boundary = boundary_of(symbol_lens, frame_lens)
    names = ("scores", "px counts", "py counts")
    ours, peers = (f(px, py, boundary, regular) for f in (lattice_torch, lattice_numba))
    for name, a, b in zip(names, ours, peers, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_nan_spreads_only_within_its_utterance(recursion: str) -> None:
    p = random_problem(6, [2, 2], [5, 5])
    logits = p["am"][:, :, None] + p["lm"][:, None]
    logits[0, 1] = float("nan")
    loss = rnnt_loss_full(logits, p["symbols"], 0, p["boundary"])
    assert torch.isnan(loss[0]) and torch.isfinite(loss[1])


def test_gradient_of_the_pruned_loss_is_that_of_plain_operations() -> None:
    """There are enough rows for several pieces; the loss is scaled, so that the incoming gradient matters."""
    p = random_problem(7, [5, 3], [40, 31], vocab=4000)
    ranges = torch.arange(6).expand(2, 40, -1)
    logits = (p["am"][:, :, None] + p["lm"][:, None]).requires_grad_()
    scale = torch.tensor([0.5, -2.0])
    (scale * rnnt_loss_pruned(logits, p["symbols"], ranges, 0, p["boundary"])).sum().backward()
    plain = logits.detach().clone().requires_grad_()
    log_probs = plain.log_softmax(dim=3)
    index = p["symbols"][:, None, :, None].expand(-1, 40, -1, -1)
    px = torch.nn.functional.pad(log_probs[:, :, :-1].gather(3, index)[..., 0].transpose(1, 2), (0, 1), value=-INFINITE)
    scores = rnnt_lattice.total_log_prob(px, log_probs[..., 0].transpose(1, 2), p["boundary"], True)[0]
    (-scale * scores).sum().backward()
    torch.testing.assert_close(logits.grad, plain.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.needs_k2
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_both_backends_give_the_same_results(rnnt_type: str, seed: int) -> None:
    """Compares values, ranges and gradients on random problems of random sizes."""
    rng = np.random.default_rng(seed)
    symbol_lens = rng.integers(1, 12, 4).tolist()
    frame_lens = [n + int(rng.integers(1, 20)) for n in symbol_lens]
    p = random_problem(seed, symbol_lens, frame_lens, vocab=30)
    s_range = int(rng.integers(2, 6))
    k2, native = (loss_by(backend, p, s_range, rnnt_type) for backend in ("k2", "native"))
    for b, n in enumerate(frame_lens):
        assert torch.equal(k2["ranges"][b, :n], native["ranges"][b, :n])
    for name in ("simple", "pruned", "am_grad", "lm_grad"):
        torch.testing.assert_close(k2[name], native[name], atol=1e-4, rtol=1e-4, msg=lambda m: f"{name}: {m}")  # noqa: B023


def loss_by(backend: str, p: dict[str, Tensor], s_range: int, rnnt_type: str) -> dict[str, Tensor]:
    """Losses, ranges and gradients of a problem, computed by a backend."""
    f = rnnt_functions(backend)
    am, lm = (p[k].clone().requires_grad_() for k in ("am", "lm"))
    simple, counts = f.smoothed(lm, am, p["symbols"], 0, p["boundary"], 0.25, 0.1, rnnt_type, 0.1)
    ranges = f.prune_ranges(*counts, p["boundary"], s_range)
    logits = torch.tanh(torch.stack(f.prune(am, lm, ranges)).sum(dim=0))
    pruned = f.pruned(logits, p["symbols"], ranges, 0, p["boundary"], rnnt_type, 0.1)
    (simple.sum() + pruned.sum()).backward()
    results = {"simple": simple, "pruned": pruned, "ranges": ranges, "am_grad": am.grad, "lm_grad": lm.grad}
    return {name: value.detach() for name, value in results.items()}


@pytest.mark.needs_k2
@pytest.mark.parametrize("path", GOLDENS, ids=lambda p: p.stem)
def test_installed_k2_gives_the_goldens(path: Path) -> None:
    golden = {k: torch.from_numpy(v) for k, v in np.load(path).items() if v.dtype.kind in "fi"}
    rnnt_type, penalty = str(np.load(path)["rnnt_type"]), float(golden["delay_penalty"])
    scales = float(golden["lm_only_scale"]), float(golden["am_only_scale"])
    f = rnnt_functions("k2")
    am, lm, symbols, boundary = (golden[k] for k in ("am", "lm", "symbols", "boundary"))
    simple, counts = f.smoothed(lm, am, symbols, 0, boundary, *scales, rnnt_type, penalty)
    ranges = f.prune_ranges(*counts, boundary, int(golden["s_range"]))
    logits = 3 * torch.tanh(torch.stack(f.prune(am, lm, ranges)).sum(dim=0))
    pruned = f.pruned(logits, symbols, ranges, 0, boundary, rnnt_type, penalty)
    for name, value in {"simple": simple, "pruned": pruned, "px_grad": counts[0], "py_grad": counts[1]}.items():
        torch.testing.assert_close(value, golden[name], atol=2e-4, rtol=1e-4, msg=lambda m: f"{name}: {m}")  # noqa: B023


@pytest.mark.gpu
@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_gpu_and_cpu_give_the_same_results(rnnt_type: str) -> None:
    p = random_problem(9, [7, 3], [20, 11])
    results = []
    for device in ("cpu", "cuda"):
        am, lm = (p[k].detach().to(device).requires_grad_() for k in ("am", "lm"))
        symbols, boundary = p["symbols"].to(device), p["boundary"].to(device)
        simple, counts = rnnt_loss_smoothed(lm, am, symbols, 0, boundary, 0.25, 0.0, rnnt_type)
        ranges = get_rnnt_prune_ranges(*counts, boundary, 3)
        logits = torch.tanh(torch.stack(do_rnnt_pruning(am, lm, ranges)).sum(dim=0))
        pruned = rnnt_loss_pruned(logits, symbols, ranges, 0, boundary, rnnt_type)
        (simple.sum() + pruned.sum()).backward()
        results.append([x.detach().cpu() for x in (simple, pruned, am.grad, lm.grad)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_unknown_and_missing_backends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="loss_backend must be one of auto, k2, native"):
        rnnt_functions("icefall")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rnnt_functions.cache_clear()
    with pytest.raises(ConfigError, match="not installed"):
        rnnt_functions("k2")
    assert rnnt_functions("auto") == rnnt_functions("native")
    rnnt_functions.cache_clear()


def test_loss_imports_on_the_python_that_k2_supports(project: Path) -> None:
    """CPython 3.9 with torch 1.13.1: uses only its syntax, and no packages but torch, numpy, numba, Triton and k2."""
    asr = "egs/ml2021/asr"
    modules = [f"{asr}/loss/{name}.py" for name in ("rnnt_loss", "rnnt_lattice", "rnnt_lattice_triton")]
    modules += [f"{asr}/model/layers/{name}.py" for name in ("autograd", "precision")]
    modules.append("lhotse_prep/workflow/errors.py")
    packages = ("egs/ml2021", asr, f"{asr}/loss", f"{asr}/model", f"{asr}/model/layers", "lhotse_prep")
    packages += ("lhotse_prep/workflow",)
    allowed = {"torch", "torch.autograd", "numpy", "numpy.typing", "numba", "k2", "lhotse_prep.workflow.errors"}
    allowed |= {"ml2021.asr.loss.rnnt_lattice", "ml2021.asr.loss.rnnt_lattice_triton", "triton", "triton.language"}
    allowed |= {"ml2021.asr.model.layers.autograd", "ml2021.asr.model.layers.precision", "contextlib"}
    allowed |= {"__future__", "collections.abc", "typing", "functools", "importlib.util"}
    for name in [*modules, *(f"{package}/__init__.py" for package in packages)]:
        tree = ast.parse((project / name).read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {a.name for a in node.names} <= allowed, name
            elif isinstance(node, ast.ImportFrom):
                assert node.module in allowed, name
