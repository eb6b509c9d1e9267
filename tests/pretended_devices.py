"""Devices that are not there: tensors of the CPU that say they are elsewhere, and refuse to meet as PyTorch's would.

PyTorch has one CPU and no second device on most machines. Here each tensor carries the name of the device that it was
made on or brought to; what is computed of tensors is where they are; and as in PyTorch an operation is refused

- on tensors of two devices, but for single numbers of the CPU, and places in the CPU's memory by which one indexes;
- if it would read, as an array, what is not in the CPU's memory.

What is computed is computed by the CPU as ever, so that one device and several must agree to the last bit. Only this
thread is pretended to, and no gradient is looked at on its way back, which goes where its tensor was.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FIRST, SECOND, THIRD = (torch.device("xpu", index) for index in range(3))
CPU = torch.device("cpu")
INDEXING = {"__getitem__", "__setitem__", "index_put", "index_put_"}
# These may be given tensors of several devices, or only look at them.
ANYWHERE = {"to", "cpu", "copy_", "__set__", "_has_compatible_shallow_copy_type", "grad", "backward", "__get__"}
TRAVELLING = {"to", "cpu"}
ARRAYS = {"numpy", "__array__"}


class PretendedDevices(TorchFunctionMode):
    """A context in which `FIRST`, `SECOND` and `THIRD` are devices."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        kwargs = dict(kwargs or {})
        if getattr(func, "__self__", None) is Tensor.device:
            return device_of(args[0])
        if getattr(func, "__self__", None) is Tensor.is_cpu:
            return device_of(args[0]) == CPU
        if name.startswith("_foreach_"):  # of optimizers, which sort tensors by their real device first
            result = func(*args, **kwargs)
            for made, of_one in zip(result or (), args[0], strict=False):
                _tag(made, device_of(of_one))
            return result
        if func is torch.device or name == "_parse_to":
            return func(*args, **kwargs)
        given = list(_tensors((args, kwargs)))
        if name in ARRAYS and device_of(args[0]) != CPU:
            raise TypeError(f"a tensor of {device_of(args[0])} is no array")
        if name not in ANYWHERE:
            _require_one_device(name, args, given)
        target = _target(name, args, kwargs)
        if target is None:
            target = next((device_of(tensor) for tensor in given if tensor.dim() or device_of(tensor) != CPU), CPU)
        if name == "__set__" and getattr(func, "__self__", None) is Tensor.data:
            func(*args)
            return _tag(args[0], device_of(args[1]))
        result = func(*map(_real, args), **{key: _real(value) for key, value in kwargs.items()})
        if func is torch.autograd.grad:
            inputs = args[1] if isinstance(args[1], list | tuple) else [args[1]]
            for gradient, tensor in zip(result, inputs, strict=True):
                _tag(gradient, device_of(tensor))
            return result
        if name in TRAVELLING and target != device_of(args[0]) and result.data_ptr() == args[0].data_ptr():
            result = result.clone()
        for tensor in _tensors(result):
            _tag(tensor, target)
        return result


def device_of(tensor: Tensor) -> torch.device:
    """Return where a tensor pretends to be."""
    device: torch.device = tensor.__dict__.get("pretended", CPU)
    return device


def _tag(tensor: Tensor, device: torch.device) -> None:
    tensor.__dict__["pretended"] = device


def _require_one_device(name: str, args: tuple[Any, ...], given: list[Tensor]) -> None:
    found = {device_of(tensor) for tensor in given if tensor.dim() or device_of(tensor) != CPU}
    if name in INDEXING:
        places = list(_tensors(args[1]))
        found = {device_of(args[0]), *(device_of(place) for place in places if device_of(place) != CPU)}
        found |= {device_of(value) for value in _tensors(args[2:]) if value.dim() or device_of(value) != CPU}
    if len(found) > 1:
        raise RuntimeError(f"{name} of tensors on {' and '.join(sorted(map(str, found)))}")


def _target(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device | None:
    """Return the device that a call asks for, if any."""
    if name == "cpu":
        return CPU
    wanted = kwargs.get("device")
    if wanted is None and name == "to":
        wanted = next(
            (arg for arg in (*args[1:], kwargs.get("other")) if isinstance(arg, torch.device | str | Tensor)), None
        )
    if isinstance(wanted, Tensor):
        return device_of(wanted)
    return None if wanted is None else torch.device(wanted)


def _real(value: Any) -> Any:
    """Replace a pretended device by the CPU."""
    if isinstance(value, str) and value.startswith("xpu"):
        return CPU
    return CPU if isinstance(value, torch.device) and value.type == FIRST.type else value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
