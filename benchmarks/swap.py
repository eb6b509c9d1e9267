"""Making a version of GPT-J's size active: reading it from disk, making its matrices, putting them in place.

    python -m benchmarks.swap [--device cpu] [--dtype bfloat16] [--ranks 10,100,1000,10000]

A GPT-J of six blocks with the dimensions of GPT-J 6B and random weights, all six edited, in artifacts of a home folder
as a worker writes them. A stream runs all the while. And, per token, what it would cost to apply an update as its
factors instead of putting edited matrices in the place of the base's.
"""

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from errata_registry.settings import Settings
from errata_registry.versions.folder import DELTA
from errata_registry.versions.manifest import BaseModelName
from errata_registry.versions.store import Artifacts
from errata_service.engine.engine import Engine
from errata_service.engine.events import Event, NewToken
from errata_service.engine.request import SequenceInput
from errata_service.metrics import Metrics as Figures
from pydantic import ByteSize
from torch import Tensor
from transformers import AutoTokenizer, GPTJConfig, GPTJForCausalLM

from benchmarks.command import arguments_of, print_header, print_row
from errata import deltas
from errata.deltas import Delta
from errata.demo import MODEL_FOLDER
from errata.model import EditableModel
from tests.made_up_versions import make_up_version

D_MODEL, D_IN, NUM_BLOCKS = 4096, 16384, 6
TURNS = 3
ROWS = (1, 16, 64)


def main() -> None:
    """Print both tables."""
    arguments = arguments_of(__doc__, device="cpu", dtype="bfloat16", ranks=[10, 100, 1000, 10_000])
    model = _model(arguments.device, getattr(torch, arguments.dtype))
    place = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{os.cpu_count()} cores"
    print(f"{NUM_BLOCKS} matrices of {D_MODEL} x {D_IN}, {arguments.dtype}, {place}, median of {TURNS}\n")
    _measure_swaps(model, arguments.ranks)
    _measure_factors(model, [rank for rank in arguments.ranks if rank <= 1000])


def _model(device: str, dtype: torch.dtype) -> EditableModel:
    """Make a model with GPT-J 6B's dimensions except for depth and vocabulary, and random weights."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    config = GPTJConfig(vocab_size=len(tokenizer), n_layer=NUM_BLOCKS, bos_token_id=None, eos_token_id=None)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        network: Any = GPTJForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    network.generation_config.eos_token_id = -1  # random weights end no text by themselves
    return EditableModel(network.to(device), tokenizer, name="six blocks of GPT-J", digest="0" * 64)


# Versions that become active


def _measure_swaps(model: EditableModel, ranks: Sequence[int]) -> None:
    print_header("facts", "on disk", "loaded", "put in place", "step, median", "longest gap meanwhile", "without")
    for rank in ranks:
        with tempfile.TemporaryDirectory(prefix="errata-swap-") as home:
            artifacts = Artifacts(Path(home))
            num_bytes = _publish(artifacts, rank)
            print_row(rank, f"{num_bytes / 2**20:.0f} MiB", *_swapped(model, artifacts))


def _publish(artifacts: Artifacts, rank: int) -> int:
    """Make a version of that rank; return the size of its update on disk."""
    draw = torch.Generator().manual_seed(rank)

    def update() -> Delta:
        left, right = torch.randn(D_MODEL, rank, generator=draw), torch.randn(rank, D_IN, generator=draw)
        return Delta.of_factors(left.double() * 1e-4, right.double())

    base_model = BaseModelName(name="six blocks of GPT-J", digest="0" * 64, dtype="bfloat16")
    version = make_up_version(artifacts, base_model, {layer: update() for layer in range(NUM_BLOCKS)})
    return version.files[DELTA].bytes


def _swapped(model: EditableModel, artifacts: Artifacts) -> list[str]:
    """Load and put in place a version again and again, with a stream under the base running and without one."""
    engine = Engine(
        model,
        lambda version: deltas.read(artifacts.delta_file(version, model.digest)) if version else {},
        Settings(weight_sets_bytes=ByteSize(1), generation_timeout_s=3600),
        Figures(),
        _raise,
    )
    try:
        engine.switch(0)
        stream = _Stream(engine)
        loads, swaps = [], []
        for _ in range(TURNS):
            began = stream.mark()
            swap = engine.switch(1)
            stream.note_gaps_since(began)
            loads.append(swap.load_ms)
            swaps.append(swap.swap_ms)
            engine.switch(0)
            stream.rest(swap.load_ms / 1000)
        gaps = (statistics.median(stream.resting), max(stream.loading), max(stream.resting))
        loaded, swapped = statistics.median(loads) / 1000, statistics.median(swaps)
        return [f"{loaded:.2f} s", f"{swapped:.4f} ms", *(f"{1000 * gap:.0f} ms" for gap in gaps)]
    finally:
        engine.close()


class _Stream:
    """A continuation that runs all the while, and when each of its tokens came."""

    def __init__(self, engine: Engine) -> None:
        self._times: list[float] = []
        self.loading: list[float] = []
        self.resting: list[float] = []
        prompt_ids = engine.model.tokenizer("The capital of France is")["input_ids"]
        inputs = [SequenceInput(prompt_ids=prompt_ids, max_new_tokens=2000)]
        engine.submit(inputs, None, self._hear, streamed=True)
        while len(self._times) < 5:
            time.sleep(0.05)

    def mark(self) -> int:
        return len(self._times) - 1

    def note_gaps_since(self, mark: int) -> None:
        """Note the gaps of a swap. The token under way at its end belongs to it."""
        under_way = len(self._times)
        while len(self._times) == under_way:
            time.sleep(0.001)
        self.loading += _gaps(self._times[mark:])

    def rest(self, seconds: float) -> None:
        """Let the stream run with nothing beside it, at least for some tokens."""
        began = self.mark()
        time.sleep(seconds)
        while len(self._times) < began + 6:
            time.sleep(0.001)
        self.resting += _gaps(self._times[began:])

    def _hear(self, events: Sequence[Event]) -> None:
        self._times += [time.perf_counter() for event in events if isinstance(event, NewToken)]


def _gaps(times: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


# Updates as factors


@torch.inference_mode()
def _measure_factors(model: EditableModel, ranks: Sequence[int]) -> None:
    """Time a product with one edited matrix, and one with its base and the two factors."""
    print()
    print_header("rows", "edited matrix", *(f"base and factors of {rank}" for rank in ranks))
    weight = model.weight(0)
    for num_rows in ROWS:
        keys = torch.randn(num_rows, D_IN).to(weight)
        edited = _seconds(partial(torch.matmul, keys, weight.T))
        cells = []
        for rank in ranks:
            left, right = torch.randn(D_MODEL, rank).to(weight), torch.randn(rank, D_IN).to(weight)
            seconds = _seconds(partial(_by_factors, keys, weight, left, right))
            cells.append(f"{1000 * seconds:.2f} ms ({seconds / edited - 1:+.0%})")
        print_row(num_rows, f"{1000 * edited:.2f} ms", *cells)


def _by_factors(keys: Tensor, weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return torch.addmm(keys @ weight.T, keys @ right.T, left.T)


def _seconds(work: Callable[[], Tensor]) -> float:
    """Return the median seconds of one turn."""
    times = []
    for _ in range(2 + 4 * TURNS):
        began = time.perf_counter()
        result = work()
        if result.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def _raise(error: Exception) -> None:
    raise error


if __name__ == "__main__":
    main()
