"""Engines over real models, in this process, with weight sets made for the tests."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from errata_registry.settings import Settings
from errata_service.engine.engine import Engine
from errata_service.engine.events import Event, Failed, Finished, NewToken
from errata_service.engine.request import Request, SequenceInput
from errata_service.metrics import Metrics

from errata.deltas import Delta, edited_weights
from errata.errors import UnknownVersion
from errata.model import EditableModel

PATIENCE_S = 60.0
EDITED_LAYERS = (0, 1)


class Heard:
    """What an engine tells of one request."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()
        self.request: Request

    def hear(self, events: Sequence[Event]) -> None:
        with self._changed:
            self.events += events
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until what was heard fulfils a condition."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), self.events

    def finished(self) -> list[Finished]:
        """Return each sequence's end. Raises what the request failed with."""
        self.wait_for(lambda: len(self._ends()) == len(self.request.inputs) or self._failures())
        for failed in self._failures():
            raise failed.error
        return sorted(self._ends(), key=lambda end: end.index)

    def new_tokens(self, index: int = 0) -> list[NewToken]:
        return [event for event in self.events if isinstance(event, NewToken) and event.index == index]

    def _ends(self) -> list[Finished]:
        return [event for event in self.events if isinstance(event, Finished)]

    def _failures(self) -> list[Failed]:
        return [event for event in self.events if isinstance(event, Failed)]


class Bench:
    """A model with an engine on it, and versions: 0 is the base, others are random updates."""

    def __init__(self, model: EditableModel, **settings: Any) -> None:
        self.model = model
        # Taken now: later the engine may have a version's matrices in the place of these.
        self._base = {layer: (model.weight(layer).shape, float(model.weight(layer).norm())) for layer in EDITED_LAYERS}
        self.may_load = threading.Event()
        self.may_load.set()
        self.slow: set[int] = set()
        self.metrics = Metrics()
        self.failures: list[Exception] = []
        self.engine = Engine(model, self.deltas, Settings(**settings), self.metrics, self.failures.append)
        self.engine.switch(0)

    def deltas(self, version: int) -> Mapping[int, Delta]:
        """Version 13 is not finite, and there is no version 99. Those that are `slow` wait until they `may_load`."""
        if version == 99:
            raise UnknownVersion("there is no version 99")
        if version in self.slow:
            self.may_load.wait(PATIENCE_S)
        return {layer: self._delta(version, layer) for layer in EDITED_LAYERS} if version else {}

    def _delta(self, version: int, layer: int) -> Delta:
        ((d_model, d_in), norm), draw = self._base[layer], torch.Generator().manual_seed(version)
        left, right = torch.randn(d_model, 1, generator=draw), torch.randn(1, d_in, generator=draw)
        size = float("inf") if version == 13 else 20 * norm / float(left.norm() * right.norm())
        return Delta(left * size, right, rank=1)

    def input(self, prompt: str, max_new_tokens: int = 12, **options: Any) -> SequenceInput:
        prompt_ids = self.model.tokenizer(prompt)["input_ids"]
        return SequenceInput(prompt_ids=prompt_ids, max_new_tokens=max_new_tokens, **options)

    def submit(self, *inputs: SequenceInput, version: int | None = None, streamed: bool = False) -> Heard:
        heard = Heard()
        heard.request = self.engine.submit(inputs, version, heard.hear, streamed=streamed)
        return heard

    def alone(self, sequence: SequenceInput, version: int = 0) -> list[int]:
        """Return what transformers generates for a prompt by itself, greedily. The engine must be idle meanwhile."""
        prompt_ids = torch.tensor([list(sequence.prompt_ids)])
        with self.model.using(edited_weights(self.model, self.deltas(version))):
            output = self.model.network.generate(
                prompt_ids,
                attention_mask=torch.ones_like(prompt_ids),
                do_sample=False,
                max_new_tokens=sequence.max_new_tokens,
            )
        token_ids: list[int] = output[0, prompt_ids.shape[1] :].tolist()
        return token_ids


NewBench = Callable[..., Bench]


@pytest.fixture
def new_bench(demo: EditableModel) -> Iterator[NewBench]:
    """Makes engines, on the demo model where no other is named. Ends them."""
    benches = []

    def make(model: EditableModel | None = None, **settings: Any) -> Bench:
        benches.append(Bench(model or demo, **settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.may_load.set()
        bench.engine.close()
