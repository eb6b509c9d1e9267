"""The short form of the fault campaign (docs/faults.md): whatever fails, nothing is lost, done twice or half done."""

from collections.abc import Iterator

import pytest

from benchmarks.faults.invariants import Invariants
from benchmarks.faults.rounds import run
from benchmarks.faults.stack import Stack

SEED = 1


@pytest.fixture(scope="module")
def invariants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invariants]:
    """What must hold of a stack with one worker. It has time to recover on a busy machine."""
    with Stack(tmp_path_factory.mktemp("faults"), workers=1, limit_s=120) as stack:
        yield Invariants(stack)


@pytest.mark.parametrize(("number", "name"), [(1, "refused-but-done"), (4, "kill-worker")])
def test_nothing_is_violated(invariants: Invariants, name: str, number: int) -> None:
    assert run(invariants, name, SEED, number).violated == []
