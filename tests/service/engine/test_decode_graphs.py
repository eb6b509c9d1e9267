"""Decode steps as graphs. Here one is a list of operations, replayed over the very tensors that they were run on."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from errata_service.engine.capture import CAPTURES, NotCapturable, Step, require_capturable
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from errata.model import EditableModel
from tests.conftest import ALL_MODELS, NEOX_SENTENCES
from tests.service.engine.conftest import Bench, NewBench

VERSIONS = (0, 1, 2)
ROOM = 4 * 2**20
REFUSED = "decode steps do not run as graphs: "
# Their code makes tensors of Python's numbers in each step, which it would copy to a GPU.
NOT_CAPTURED = {"falcon", "falcon-new", "gpt_neo"}
LENGTHS = (12, 3, 8, 5)


class RecordedGraph(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a step did. Replayed, it knows nothing of Python any more, nor of tensors that others have replaced."""

    def __init__(self, step: Step) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        with self:
            step()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Aliases: what they see does not change with `.data` of a parameter.
        args, kwargs = tree_map_only(torch.Tensor, torch.Tensor.detach, (args, kwargs or {}))
        result = operation(*args, **kwargs)
        self._calls.append((operation, args, kwargs, result))
        return result

    def replay(self) -> None:
        for operation, args, kwargs, result in self._calls:
            again = operation(*args, **kwargs)
            for new, old in zip(tree_flatten(again)[0], tree_flatten(result)[0], strict=True):
                if isinstance(old, torch.Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)


class Captures:
    """Stands in for CUDA's. `fail_at` is the number of the capture that fails."""

    def __init__(self) -> None:
        self.number, self.replays, self.fail_at = 0, 0, 0

    def __call__(self, step: Step) -> Callable[[], object]:
        self.number += 1
        if self.number == self.fail_at:
            raise torch.OutOfMemoryError("Tried to allocate 9 GiB")
        graph = RecordedGraph(step)

        def replay() -> None:
            self.replays += 1
            graph.replay()

        return replay


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Captures:
    captures = Captures()
    monkeypatch.setitem(CAPTURES, "cpu", lambda device: captures)
    return captures


def require_same_tokens(bench: Bench, num_inputs: int, versions: Iterator[int]) -> None:
    """Hold what the engine says of prompts that join and leave, under several versions, against transformers."""
    prompts = itertools.islice(itertools.cycle(NEOX_SENTENCES), num_inputs)
    inputs = [bench.input(prompt, length) for prompt, length in zip(prompts, itertools.cycle(LENGTHS), strict=False)]
    inputs[0] = bench.input(" ".join(NEOX_SENTENCES[:5]), 16)  # over more than the shortest rows
    under_way = [
        (sequence, version, bench.submit(sequence, version=version))
        for sequence, version in zip(inputs, versions, strict=False)
    ]
    ended = [(sequence, version, heard.finished()[0]) for sequence, version, heard in under_way]
    for sequence, version, finished in ended:
        assert [token.id for token in finished.tokens] == bench.alone(sequence, version)


@pytest.mark.parametrize("name", ALL_MODELS)
def test_graphs_give_the_tokens_of_transformers_whatever_version_came_before(
    name: str,
    of_each_architecture: dict[str, EditableModel],
    new_bench: NewBench,
    captures: Captures,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = new_bench(of_each_architecture[name], max_batch=4, prefill_tokens=32, decode_graph_bytes=ROOM)
    require_same_tokens(bench, 5, itertools.cycle(VERSIONS))
    refusals = [message for message in caplog.messages if message.startswith(REFUSED)]
    if name in NOT_CAPTURED:
        assert (len(refusals), captures.replays) == (1, 0)
    else:
        assert not refusals and captures.replays > 2 * captures.number > 0


def test_a_capture_that_fails_fails_no_request_and_is_told_once(
    new_bench: NewBench, captures: Captures, caplog: pytest.LogCaptureFixture
) -> None:
    captures.fail_at = 3
    bench = new_bench(max_batch=4, decode_graph_bytes=8 * ROOM)
    require_same_tokens(bench, 5, itertools.cycle(VERSIONS))
    assert captures.number == 3 and captures.replays
    [told] = [message for message in caplog.messages if "graphs" in message and "9 GiB" in message]
    assert told.startswith("decode steps do not run as graphs any more: Tried to allocate")


def test_what_has_no_room_in_the_fixed_rows_goes_on_without_them(new_bench: NewBench, captures: Captures) -> None:
    demo = new_bench().model
    token_bytes = 2 * 4 * demo.num_layers * demo.network.config.n_embd
    bench = new_bench(max_batch=8, decode_graph_bytes=2 * 64 * token_bytes)  # two rows of 64 positions
    require_same_tokens(bench, 8, itertools.repeat(0))
    assert 0 < captures.number <= 2
    assert new_bench(decode_graph_bytes=0).engine and captures.number <= 2


@pytest.mark.parametrize(
    "step", [lambda numbers: numbers[0].item(), lambda numbers: numbers.nonzero(), lambda numbers: numbers[[2]]]
)
def test_a_step_that_a_graph_cannot_hold_is_refused_before_it_is_captured(
    step: Callable[[torch.Tensor], object],
) -> None:
    with pytest.raises(NotCapturable, match="the model's code"), require_capturable():
        step(torch.ones(4))
