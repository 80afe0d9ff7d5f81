"""The kernels for a GPU, run on a CPU by Triton's interpreter, against the recursions for a CPU.

Legend: B batch, T frames, S symbols.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from ml2021.asr.loss import ctc_triton, rnnt_lattice, rnnt_lattice_triton
from ml2021.asr.loss.rnnt_lattice import lattice_numba, total_log_prob
from ml2021.asr.loss.rnnt_loss import rnnt_loss_smoothed

GOLDENS = sorted((Path(__file__).parents[3] / "goldens").glob("rnnt_*.npz"))
INFINITE = float("inf")
Lattice = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor]]

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


@pytest.fixture
def lattice(interpreted: dict[str, ModuleType]) -> Lattice:
    """The lattice by the kernels."""
    result: Lattice = interpreted["rnnt_lattice_triton"].lattice_triton
    return result


def boundary_of(symbol_lens: list[int], frame_lens: list[int]) -> Tensor:
    return torch.tensor([[0, 0, s, t] for s, t in zip(symbol_lens, frame_lens, strict=True)])


def random_arcs(symbol_lens: list[int], frame_lens: list[int], regular: bool, seed: int = 0) -> tuple[Tensor, ...]:
    """px, py and boundary of a padded batch; in the padding are NaN."""
    g = torch.Generator().manual_seed(seed)
    batch, num_symbols, num_frames = len(symbol_lens), max(1, *symbol_lens), max(frame_lens)
    px = 2 * torch.randn(batch, num_symbols, num_frames + regular, generator=g)
    py = 2 * torch.randn(batch, num_symbols + 1, num_frames, generator=g)
    for b, (s, t) in enumerate(zip(symbol_lens, frame_lens, strict=True)):
        px[b, s:], py[b, s + 1 :] = float("nan"), float("nan")
        px[b, :, t:], py[b, :, t:] = float("nan"), float("nan")
        if regular:
            px[b, :, t] = -INFINITE
    return px, py, boundary_of(symbol_lens, frame_lens)


def assert_equal_to_numba(lattice: Lattice, px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> None:
    expected = lattice_numba(px, py, boundary, regular)
    for name, a, b in zip(("scores", "px", "py"), lattice(px, py, boundary, regular), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if "rnnt_1" in p.stem else []) for p in GOLDENS]
)
def test_counts_and_loss_of_k2(path: Path, lattice: Lattice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simple loss of the goldens with the kernels in place of numba."""
    calls = []

    def kernels(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        calls.append(args)
        return lattice(*args)

    monkeypatch.setattr(rnnt_lattice, "lattice_here", kernels)
    golden = {k: torch.from_numpy(v) for k, v in np.load(path).items() if v.dtype.kind in "fi"}
    scales = (float(golden[k]) for k in ("lm_only_scale", "am_only_scale"))
    simple, counts = rnnt_loss_smoothed(
        *(golden[k] for k in ("lm", "am", "symbols")),
        0,
        golden["boundary"],
        *scales,
        str(np.load(path)["rnnt_type"]),
        float(golden["delay_penalty"]),
    )
    for name, value in {"simple": simple, "px_grad": counts[0], "py_grad": counts[1]}.items():
        torch.testing.assert_close(value, golden[name], atol=2e-4, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    assert len(calls) == 1
    assert_equal_to_numba(lattice, *calls[0])


@pytest.mark.parametrize("regular", [True, False])
def test_padded_short_and_impossible_lattices(regular: bool, lattice: Lattice) -> None:
    """Empty texts, one frame, no frames, texts that are too long, arcs of probability zero."""
    px, py, boundary = random_arcs([3, 0, 1, 5, 2, 0, 2], [7, 4, 1, 3, 0, 0, 6], regular)
    px[0, 1, :3] = -INFINITE
    py[0, :, 2] = -INFINITE
    py[6, :, 4] = -INFINITE  # regular: no path at all
    assert_equal_to_numba(lattice, px, py, boundary, regular)


def test_nan_spreads_only_within_its_utterance(lattice: Lattice) -> None:
    px, py, boundary = random_arcs([2, 2], [4, 4], True)
    py[0, 1, 2] = float("nan")
    scores, px_grad, py_grad = lattice(px, py, boundary, True)
    assert torch.isnan(scores[0]) and torch.isnan(py_grad[0]).any()
    assert torch.isfinite(scores[1]) and torch.isfinite(px_grad[1]).all() and torch.isfinite(py_grad[1]).all()


def test_takes_float64_and_tensors_that_are_not_contiguous(lattice: Lattice) -> None:
    px, py, boundary = random_arcs([2, 1], [3, 3], False)
    px, py = (x.nan_to_num().transpose(1, 2).contiguous().transpose(1, 2).double() for x in (px, py))
    scores, *counts = lattice(px, py, boundary, False)
    assert scores.dtype == torch.float64
    assert_equal_to_numba(lattice, px.float(), py.float(), boundary, False)
    for count, expected in zip(counts, lattice_numba(px.float(), py.float(), boundary, False)[1:], strict=True):
        torch.testing.assert_close(count.float(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("regular", [True, False])
def test_long_lattices(regular: bool, lattice: Lattice) -> None:
    """An error of float32 at each of some hundred arcs would show."""
    px, py, boundary = random_arcs([90, 3, 60], [130, 150, 61], regular)
    assert_equal_to_numba(lattice, px * 5, py * 5, boundary, regular)


@pytest.mark.slow
@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_random_lattices(regular: bool, seed: int, lattice: Lattice) -> None:
    rng = np.random.default_rng(seed)
    frame_lens, symbol_lens = rng.integers(0, 15, 6).tolist(), rng.integers(0, 9, 6).tolist()
    px, py, boundary = random_arcs(symbol_lens, [*frame_lens[:-1], 9], regular, seed)
    px[torch.rand(px.shape) < 0.1] = -INFINITE
    assert_equal_to_numba(lattice, px, py, boundary, regular)


def test_tensors_on_a_gpu_go_to_the_kernels_in_two_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the scores, one for the counts; the tensors only say that they are on a GPU."""
    pytest.importorskip("triton")
    launches: list[str] = []

    class Kernel:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
            assert grid == (2,)
            return lambda *args, **options: launches.append(self.name)

    class OnGpu(torch.Tensor):
        device = torch.device("cuda")

        def detach(self) -> Tensor:
            return self.as_subclass(Tensor)

    for name in ("_scores_kernel", "_counts_kernel"):
        monkeypatch.setattr(rnnt_lattice_triton, name, Kernel(name))
    px, py, boundary = random_arcs([2, 2], [4, 4], True)
    rnnt_lattice.lattice_here(px.as_subclass(OnGpu), py.as_subclass(OnGpu), boundary, True)
    assert launches == ["_scores_kernel", "_counts_kernel"]


def test_without_triton_a_gpu_gets_plain_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("rnnt_lattice_triton_missing", rnnt_lattice_triton.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.HAS_TRITON
    px, py, boundary = (x.nan_to_num() for x in random_arcs([2, 1], [4, 3], True))
    expected = lattice_numba(px, py, boundary, True)[0]
    monkeypatch.setattr(rnnt_lattice, "HAS_TRITON", False)
    monkeypatch.setattr(rnnt_lattice, "numba", None)
    torch.testing.assert_close(rnnt_lattice.lattice_here(px, py, boundary, True)[0], expected)


@pytest.mark.parametrize("regular", [True, False])
def test_threads_of_a_cpu_change_nothing(regular: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    arcs = random_arcs([2, 1, 3], [4, 3, 5], regular)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    alone = lattice_numba(*arcs, regular)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)  # at least one runs, whatever the limit here
    assert all(torch.equal(a, b) for a, b in zip(lattice_numba(*arcs, regular), alone))


def test_fake_tensors_on_a_gpu_pass() -> None:
    """Shapes and devices of a training step are checked so on machines without a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        px, py = torch.randn(2, 3, 6, device="cuda"), torch.randn(2, 4, 5, device="cuda")
        boundary = torch.zeros(2, 4, dtype=torch.int64, device="cuda")
        results = total_log_prob(px, py, boundary, True)
    assert [tuple(x.shape) for x in results] == [(2,), (2, 3, 6), (2, 4, 5)]
    assert {x.device.type for x in results} == {"cuda"}


def compile_for_gpus(kernel: Any, constants: dict[str, int], sizes: tuple[str, ...]) -> None:
    """Compile a kernel to machine code of two generations of GPUs, which needs none."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = dict.fromkeys(("alpha", "scores"), "*fp64")
    types |= dict.fromkeys(("boundary", "symbols", "ends"), "*i64")
    types |= dict.fromkeys(sizes, "i32") | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}
    for capability in (80, 90):
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        options = {"num_stages": 1, "num_warps": 4}
        code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm
        assert code["cubin"] and "bar.sync" in code["ptx"], "positions meet at a barrier after each diagonal"
        assert "ld.global.nc" not in code["ptx"], "a load past the cache of the barrier"


@pytest.mark.slow
def test_kernels_compile_for_gpus() -> None:
    pytest.importorskip("triton")
    for kernel in (rnnt_lattice_triton._scores_kernel, rnnt_lattice_triton._counts_kernel):
        for regular in (True, False):
            compile_for_gpus(kernel, {"REGULAR": regular, "BLOCK": 128}, tuple(rnnt_lattice_triton._SIZES))
    for kernel in (ctc_triton._ctc_scores_kernel, ctc_triton._ctc_counts_kernel):
        compile_for_gpus(kernel, {"BLOCK": 128}, tuple(ctc_triton._SIZES))
