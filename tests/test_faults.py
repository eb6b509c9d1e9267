"""The short form of the fault campaign (docs/faults.md): whatever fails, nothing is lost, done twice or half done."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from errata_cli.processes import Running

from benchmarks.faults.invariants import Invariants
from benchmarks.faults.rounds import run
from benchmarks.faults.stack import Stack
from tests.preloaded import Preloaded

SEED = 1


class PreloadedCampaign(Stack):
    """The campaign's processes, forked from one that has imported what they import."""

    def start_module(self, module: str, told: Mapping[str, str], log: Path) -> Running:
        """See `Stack`."""
        return Preloaded(module, environment=told, log=log)


@pytest.fixture(scope="module")
def invariants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invariants]:
    """What must hold of a stack with one worker. It has time to recover on a busy machine."""
    with PreloadedCampaign(tmp_path_factory.mktemp("faults"), workers=1, limit_s=120) as stack:
        yield Invariants(stack)


@pytest.mark.parametrize(("number", "name"), [(1, "refused-but-done"), (4, "kill-worker")])
def test_nothing_is_violated(invariants: Invariants, name: str, number: int) -> None:
    assert run(invariants, name, SEED, number).violated == []
