"""Capturing a step as a graph, and finding out beforehand whether that is possible."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Step = Callable[[], None]
Capture = Callable[[Step], Callable[[], object]]

# Operations after which a step knows on the CPU what the device has computed. A graph is replayed without the CPU.
ASKING_THE_DEVICE = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "unique_consecutive", "_unique2")
FROM_PYTHON = "lift_fresh"  # a tensor made of Python's numbers, which would be copied from memory that is gone by then


class NotCapturable(Exception):
    """A graph cannot hold what a step does."""


class _Rehearsal(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        if name in ASKING_THE_DEVICE:
            raise NotCapturable(f"the model's code waits for what the device has computed ({name})")
        if name == FROM_PYTHON:
            raise NotCapturable(f"the model's code copies numbers to the device in each step ({name})")
        return operation(*args, **(kwargs or {}))


@contextmanager
def require_capturable() -> Iterator[None]:
    """Raise `NotCapturable` at the first operation inside that a graph cannot hold."""
    with _Rehearsal():  # type: ignore[no-untyped-call]
        yield


class CudaCapture:
    """Captures steps as CUDA graphs, which share one pool of memory, since they are replayed one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, step: Step) -> Callable[[], object]:
        """Run a step, so that all its kernels are there, and capture it; return what replays it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                step()
            torch.cuda.current_stream().wait_stream(self._stream)
            # Other threads, which load weights meanwhile, may go on.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                step()
        return graph.replay


# How steps are captured on a type of device. On others they are not.
CAPTURES: dict[str, Callable[[torch.device], Capture]] = {"cuda": CudaCapture}
