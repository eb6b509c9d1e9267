"""The memory of edited matrices: its bound, and what may never leave it."""

import threading
import time
from collections.abc import Mapping

import pytest
import torch
from errata_service.engine.weight_sets import LOADED_AT_ONCE, WeightSets
from torch import Tensor

from errata.errors import CorruptArtifact

ONE = 4 * 100


class Storage:
    """Loads sets of 400 bytes and remembers which were asked for."""

    def __init__(self) -> None:
        self.loads: list[int] = []

    def load(self, version: int) -> Mapping[int, Tensor]:
        self.loads.append(version)
        if version == 13:
            raise CorruptArtifact("version 13 is damaged")
        return {0: torch.full((10, 10), float(version))} if version else {}


def used(sets: WeightSets, version: int) -> None:
    sets.release(sets.acquire(version).result())


def test_the_least_recently_used_goes_first() -> None:
    storage = Storage()
    sets = WeightSets(storage.load, budget=2 * ONE)
    for version in (1, 2, 1, 3, 1, 2):
        used(sets, version)
    assert storage.loads == [1, 2, 3, 2]


def test_a_set_in_use_stays_above_the_budget() -> None:
    storage = Storage()
    sets = WeightSets(storage.load, budget=ONE)
    held = [sets.acquire(version).result() for version in (1, 2, 3)]
    for version in (1, 2, 3):
        used(sets, version)
    assert storage.loads == [1, 2, 3]
    for one in held:
        sets.release(one)
    used(sets, 3)
    assert storage.loads == [1, 2, 3]
    used(sets, 1)
    assert storage.loads == [1, 2, 3, 1]


def test_where_memory_runs_out_the_sets_that_nobody_uses_go_first() -> None:
    storage, tries = Storage(), list[int]()

    def load(version: int) -> Mapping[int, Tensor]:
        tries.append(version)
        if version == 4 or tries == [1, 2, 3]:
            raise torch.OutOfMemoryError("out of memory")
        return storage.load(version)

    sets = WeightSets(load, budget=9 * ONE)
    sets.acquire(1).result()
    for version in (2, 3, 1, 2):
        used(sets, version)
    assert tries == [1, 2, 3, 3, 2]
    with pytest.raises(torch.OutOfMemoryError):
        sets.acquire(4).result()


def test_the_base_takes_no_room() -> None:
    sets = WeightSets(Storage().load, budget=0)
    assert sets.acquire(0).result().num_bytes == 0
    assert sets.acquire(1).result().num_bytes == ONE


def test_what_cannot_be_loaded_is_tried_again() -> None:
    storage = Storage()
    sets = WeightSets(storage.load, budget=ONE)
    for _ in range(2):
        with pytest.raises(CorruptArtifact):
            sets.acquire(13).result()
    assert storage.loads == [13, 13]


def test_many_threads_load_a_version_once() -> None:
    storage = Storage()
    sets = WeightSets(storage.load, budget=10 * ONE)
    threads = [threading.Thread(target=used, args=(sets, version)) for version in (1, 2, 3) * 10]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(storage.loads) == [1, 2, 3]


def test_it_can_be_closed_again_when_something_was_never_loaded() -> None:
    may_load = threading.Event()

    def load(version: int) -> Mapping[int, Tensor]:
        assert may_load.wait(20)
        return {}

    sets = WeightSets(load, budget=ONE)
    held = [sets.acquire(version) for version in range(1, LOADED_AT_ONCE + 2)]
    closing = threading.Thread(target=sets.close)
    closing.start()
    while not sets.acquire(99).done():  # refused at once, as soon as it is closed
        time.sleep(0.01)
    may_load.set()
    closing.join(20)
    sets.close()
    assert all(future.done() for future in held)
