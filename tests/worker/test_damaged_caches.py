"""What a worker keeps to work faster is damaged: the weights come out the same, and the edit's followers hear of it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from errata_client.records import Edit, JobStatus
from errata_registry.verification import verify
from errata_registry.versions.folder import DELTA

from errata.files import durable
from tests.worker.conftest import Crew

QUICK = {"num_steps": 3}
FACTOR = "second_moments/*/layer_0.cholesky.safetensors"


@pytest.fixture
def worker(crew: Crew) -> Iterator[Crew]:
    """One of them, without work."""
    crew.grow_to(1)
    yield crew
    crew.stop()


def flip_a_bit(home: Path, pattern: str) -> None:
    """Change one bit in the middle of each such file."""
    paths = list(home.glob(pattern))
    assert paths
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        scratch = durable.scratch_beside(path)
        scratch.write_bytes(content)
        scratch.replace(path)


def weights_of(crew: Crew, edit: Edit) -> bytes:
    ended = crew.ended(edit)
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    return (crew.settings.home / f"versions/{ended.version:06d}" / DELTA).read_bytes()


def names_told_of(crew: Crew, edit: Edit) -> set[str]:
    """The files that the edit's events say are damaged, each by its name."""
    said = [message.split(" is damaged; ")[0] for message in crew.messages(edit) if " is damaged; " in message]
    return {Path(path).name for path in said}


def test_what_is_damaged_is_made_again_and_said(worker: Crew) -> None:
    crew, home = worker, worker.settings.home
    first = crew.edit(2, QUICK)
    expected = weights_of(crew, first)
    targets = {path.name for path in home.glob("targets/*/*.safetensors")}

    for pattern in (FACTOR, "contexts/*/0.json", "targets/*/*.safetensors"):
        flip_a_bit(home, pattern)
    verified = verify(home)
    assert (len(verified.faults), len(verified.damaged_targets)) == (2, len(targets))
    again = crew.again(first)
    assert weights_of(crew, again) == expected
    assert names_told_of(crew, again) == {"layer_0.cholesky.safetensors", "0.json", *targets}
    assert verify(home).faults == verify(home).damaged_targets == ()

    crew.signal_one(signal.SIGKILL)
    for pattern in (FACTOR, "second_moments/*/layer_0.safetensors"):
        flip_a_bit(home, pattern)
    crew.grow_to(1)
    crew.wait(lambda: not verify(home).faults, "what is damaged was not mended at the worker's start")
    after_the_start = crew.again(first)
    assert weights_of(crew, after_the_start) == expected
    assert names_told_of(crew, after_the_start) >= {"layer_0.cholesky.safetensors", "layer_0.safetensors"}
    assert not names_told_of(crew, (quiet := crew.again(first))) and weights_of(crew, quiet) == expected
