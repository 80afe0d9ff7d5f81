"""A pretend GPU for machines without one: tensors that say they are on `cuda:0`, while their values are on the CPU.

    with PretendCuda() as gpu:
        model.to("cuda")
        loss = model(x.to("cuda"), ...)
        loss.backward()
    assert gpu.syncs == []

Code that asks a tensor for its device takes the way it takes on a GPU, and its results can be compared with those on
the CPU. As on a GPU, an operation on tensors of both devices raises RuntimeError, and so does `.numpy()`. What makes a
process wait for a GPU is recorded: `syncs` are values that are read from it (`.item()`, `bool()`, `.tolist()`,
`.cpu()`, nonzero, indexing with a mask), `uploads` are blocking copies to it (without non_blocking=True).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA, META = torch.device("cuda", 0), torch.device("meta")
PROJECT = f"{Path(__file__).resolve().parents[2]}/"
PACKAGES = (f"{PROJECT}egs/", f"{PROJECT}lhotse_prep/")
ALWAYS_WAIT = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim",
    "unique_consecutive", "bincount",
}  # fmt: skip
TAKES_CPU_INDICES = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}
COPIES = {"copy_", "copy", "_to_copy", "_copy_from"}
ZERO_DIM_TOO = {"masked_fill", "masked_fill_", "where", "fill_", "full_like"}  # besides all elementwise operations
_active: list[PretendCuda] = []


class PretendCuda(TorchFunctionMode):
    """The context in which the GPU is there. `syncs` and `uploads` name the operation and the line of each."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs: list[str] = []
        self.uploads: list[str] = []
        self._operations = _Operations()

    def __enter__(self) -> PretendCuda:
        _active.append(self)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # Module.to makes new parameters, of our class
        self._inference_mode = torch.inference_mode
        torch.inference_mode = _without_gradients  # type: ignore[assignment,misc]
        self._operations.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        self._operations.__exit__(*args)
        torch.inference_mode = self._inference_mode  # type: ignore[misc]
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        _active.remove(self)

    def clear(self) -> None:
        """Forget what was recorded, for example while a model was moved to the GPU."""
        self.syncs.clear()
        self.uploads.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        special = _SPECIAL.get(func)
        if special is not None:
            return special(*args, **kwargs)
        if not _is_cuda(kwargs.get("device")):
            return func(*args, **kwargs)
        if func is torch.tensor or func is torch.as_tensor:
            _record_upload(func.__name__)
        kwargs["device"] = "cpu"
        output = func(*args, **kwargs)
        if isinstance(output, GpuTensor):
            return output
        requires_grad = output.requires_grad
        return GpuTensor(output.detach()).requires_grad_(requires_grad)


class GpuTensor(torch.Tensor):
    """A tensor on the pretend GPU. For torch's C++ its device is `meta`, whose autograd needs no driver."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: Tensor) -> GpuTensor:
        assert not isinstance(values, GpuTensor)
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device="meta",
        )

    def __init__(self, values: Tensor) -> None:
        self.values = values

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"GpuTensor({self.values})"

    def __reduce_ex__(self, protocol: Any) -> Any:  # saved as a tensor of the CPU
        _record_sync("saving a tensor")
        return self.values.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Runs every operation, also those that torch's C++ starts, such as zeros in a backward pass."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # which would be imported for it, in seconds
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    tensors = list(_tensors((args, kwargs)))
    on_gpu = any(isinstance(x, GpuTensor) for x in tensors)
    if kwargs.get("device") == META:
        on_gpu, kwargs = True, {**kwargs, "device": torch.device("cpu")}
    if not on_gpu:
        return func(*args, **kwargs)
    name = func.overloadpacket.__name__
    if not all(isinstance(x, GpuTensor) for x in tensors):
        _require_one_device(func, name, args, kwargs)
    _record(name, args, kwargs)
    out = func(*_map(_values, args), **{k: _map(_values, v) for k, v in kwargs.items()})
    if name.endswith("_") and not name.endswith("__"):  # in place
        return args[0] if isinstance(out, Tensor) else out
    return kwargs.get("out", _map(_wrapped, out))


class _Upload(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return GpuTensor(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _values(grad)


class _Download(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _values(x).detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return GpuTensor(grad)


def _without_gradients(mode: bool = True) -> Any:
    """In place of inference_mode, in which torch does not support tensors of other classes."""
    return torch.no_grad() if mode else contextlib.nullcontext()


def _values(x: Any) -> Any:
    return x.values if isinstance(x, GpuTensor) else x


def _wrapped(x: Any) -> Any:
    return GpuTensor(x) if isinstance(x, Tensor) and not isinstance(x, GpuTensor) else x


def _is_cuda(device: Any) -> bool:
    return device is not None and not isinstance(device, int) and torch.device(device).type == "cuda"


def _tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    for x in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (list, tuple, dict)):
            yield from _tensors(x)


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of lists and tuples with the function applied to its leaves."""
    return type(tree)(_map(function, x) for x in tree) if type(tree) in (list, tuple) else function(tree)


def _require_one_device(func: Any, name: str, args: Any, kwargs: Any) -> None:
    """As on a GPU: one device, but for copies, indices on the CPU, and single numbers in elementwise operations."""
    if name in COPIES:
        return
    tensors = list(_tensors((args[:1] if name in TAKES_CPU_INDICES else args, kwargs)))
    if name in TAKES_CPU_INDICES:
        tensors += [x for x in _tensors(args[1]) if isinstance(x, GpuTensor)] + list(_tensors(args[2:]))
    on_gpu = [x for x in tensors if isinstance(x, GpuTensor)]
    on_cpu = [x for x in tensors if not isinstance(x, GpuTensor)]
    if name == "_ctc_loss" or name == "_ctc_loss_backward":  # takes the lengths from either device
        on_cpu = [x for x in on_cpu if x is args[0] or x is args[1]]
    if not on_cpu or not on_gpu:
        return
    takes_numbers = torch.Tag.pointwise in func.tags or name in ZERO_DIM_TOO
    if takes_numbers and all(x.dim() == 0 for x in on_cpu):
        return
    shapes = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in tensors)
    raise RuntimeError(f"Expected all tensors to be on the same device, but aten::{name} got {shapes}")


def _record(name: str, args: Any, kwargs: Any) -> None:
    """Record an operation for which the process has to wait for the GPU."""
    if name in ALWAYS_WAIT or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        _record_sync(name)
    elif name in TAKES_CPU_INDICES:
        indices = list(_tensors(args[1]))
        if any(isinstance(i, GpuTensor) and i.dtype in (torch.bool, torch.uint8) for i in indices):
            _record_sync(f"{name} with a mask")
        if any(not isinstance(i, GpuTensor) for i in indices):
            _record_upload(f"{name} with indices of the CPU")
    elif name == "copy_" and isinstance(args[0], GpuTensor) != isinstance(args[1], GpuTensor):
        non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        if not isinstance(args[0], GpuTensor):
            _record_sync("copy_ to the CPU")
        elif not non_blocking:
            _record_upload("copy_ from the CPU")
    elif name == "_ctc_loss":
        for lens in args[2:4]:
            if isinstance(lens, GpuTensor):
                _record_sync("ctc_loss with lengths on the GPU")


def _record_sync(what: str) -> None:
    for gpu in _active:
        gpu.syncs.append(f"{what} at {_line()}")


def _record_upload(what: str) -> None:
    for gpu in _active:
        gpu.uploads.append(f"{what} at {_line()}")


def _line() -> str:
    """The innermost line of the project's packages that called."""
    frame = sys._getframe()
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGES):
            return f"{path.removeprefix(PROJECT)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "the test"


def _to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Tensor.to in all its forms."""
    device, others = None, []
    for arg in (*args, *([kwargs.pop("other")] if "other" in kwargs else [])):
        if isinstance(arg, Tensor):
            device, kwargs["dtype"] = arg.device, arg.dtype
        elif isinstance(arg, (str, torch.device)):
            device = torch.device(arg)
        elif isinstance(arg, torch.dtype):
            kwargs["dtype"] = arg
        elif isinstance(arg, bool):
            others.append(arg)  # non_blocking, copy
    if kwargs.get("device") is not None:
        device = torch.device(kwargs["device"])
    kwargs.pop("device", None)
    for name, value in zip(("non_blocking", "copy"), others):
        kwargs[name] = value
    non_blocking = kwargs.pop("non_blocking", False)
    if device is not None and (device.type == "cuda") != isinstance(x, GpuTensor):
        x = _moved(x, device, non_blocking)
    return torch.Tensor.to(x, **kwargs) if kwargs else x


def _moved(x: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
    if device.type == "cuda":
        if not non_blocking:
            _record_upload("to the GPU")
        moved = _Upload.apply(x)
    else:
        _record_sync("to the CPU")
        moved = _Download.apply(x)
    return moved  # type: ignore[no-any-return]


def _cpu(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _moved(x, torch.device("cpu")) if isinstance(x, GpuTensor) else x


def _cuda(x: Tensor, device: Any = None, non_blocking: bool = False, **_: Any) -> Tensor:
    return x if isinstance(x, GpuTensor) else _moved(x, CUDA, non_blocking)


def _tolist(x: Tensor) -> Any:
    if isinstance(x, GpuTensor):
        _record_sync("tolist")
    return torch.Tensor.tolist(_values(x))


def _numpy(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if isinstance(x, GpuTensor):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; copy it to the CPU first")
    return torch.Tensor.numpy(x, *args, **kwargs)


def _array(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if isinstance(x, GpuTensor):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; copy it to the CPU first")
    return torch.Tensor.__array__(x, *args, **kwargs)


def _new_tensor(x: Tensor, data: Any, **kwargs: Any) -> Tensor:
    if not isinstance(x, GpuTensor):
        return torch.Tensor.new_tensor(x, data, **kwargs)
    _record_upload("new_tensor")
    return GpuTensor(torch.Tensor.new_tensor(x.values, data, **kwargs))


def _deepcopy(x: Tensor, memo: Any) -> Any:
    if not isinstance(x, GpuTensor):
        return torch.Tensor.__deepcopy__(x, memo)
    if id(x) not in memo:
        copied = GpuTensor(x.values.detach().clone()).requires_grad_(x.requires_grad)
        if getattr(x, "_is_param", False):
            copied._is_param = True  # type: ignore[attr-defined]
        memo[id(x)] = copied
    return memo[id(x)]


_SPECIAL: dict[Any, Callable[..., Any]] = {
    torch.Tensor.to: _to,
    torch.Tensor.cpu: _cpu,
    torch.Tensor.cuda: _cuda,
    torch.Tensor.tolist: _tolist,
    torch.Tensor.numpy: _numpy,
    torch.Tensor.__array__: _array,
    torch.Tensor.new_tensor: _new_tensor,
    torch.Tensor.__deepcopy__: _deepcopy,
    torch.Tensor.pin_memory: lambda x, *_, **__: x,
    torch.Tensor.get_device: lambda x: 0 if isinstance(x, GpuTensor) else -1,
}
