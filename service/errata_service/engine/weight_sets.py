"""The edited matrices of versions, loaded in the background and cached in memory."""

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from errata_client.records import BASE_VERSION
from torch import OutOfMemoryError, Tensor

from errata_service.problems import NotReady

LOADED_AT_ONCE = 3
LOADED_FOR_REQUESTS = 2  # so that the version that is made active never has to wait for a loader
FEWEST_IN_USE = 2  # the active version's set and one more, whatever the budget
NICENESS = 10


@dataclass(eq=False, slots=True)
class WeightSet:
    """One version's edited matrices by layer.

    Attributes:
        users: number of those who have acquired it.
        is_tried: True once the model has been found to give finite numbers with it.
    """

    version: int
    weights: Mapping[int, Tensor]
    users: int = 0
    is_tried: bool = False

    @property
    def num_bytes(self) -> int:
        """Memory of the matrices."""
        return sum(tensor.nbytes for tensor in self.weights.values())


class WeightSets:
    """Weight sets by version. Above `budget` bytes the least recently used are dropped, but never one in use.

    Sets in memory are given out at once, whatever is being loaded meanwhile.
    """

    def __init__(self, load: Callable[[int], Mapping[int, Tensor]], budget: int) -> None:
        self._load = load
        self._budget = budget
        self._sets: OrderedDict[int, WeightSet] = OrderedDict()
        self._awaited: dict[int, list[Future[WeightSet]]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._loaders = ThreadPoolExecutor(LOADED_AT_ONCE, "weight-sets", initializer=_give_way)

    def acquire(self, version: int) -> Future[WeightSet]:
        """Load a version's set unless it is in memory, and keep it until `release`. The future fails as `load` does.

        A version is loaded once, however many acquire it meanwhile.
        """
        future: Future[WeightSet] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(NotReady("no weights are loaded any more"))
            elif found := self._sets.get(version):
                found.users += 1
                self._sets.move_to_end(version)
                future.set_result(found)
            elif version in self._awaited:
                self._awaited[version].append(future)
            else:
                self._awaited[version] = [future]
                self._loaders.submit(self._load_set, version)
        return future

    def has_room_for(self, version: int) -> bool:
        """Return True if a request may acquire a version's set without exceeding the budget.

        There is always room for the base and for what is in memory or being loaded. There is none for another version
        while sets in use fill the budget (the active version's and one more may exceed it), or while
        `LOADED_FOR_REQUESTS` sets are being loaded.
        """
        with self._lock:
            if version == BASE_VERSION or version in self._sets or version in self._awaited:
                return True
            in_use = [held for held in self._sets.values() if held.users and held.num_bytes]
            return len(self._awaited) < LOADED_FOR_REQUESTS and (
                len(in_use) < FEWEST_IN_USE or sum(held.num_bytes for held in in_use) < self._budget
            )

    def release(self, weight_set: WeightSet) -> None:
        """Undo one `acquire`."""
        with self._lock:
            weight_set.users -= 1
            self._drop_unused()

    def discard(self, weight_set: WeightSet) -> None:
        """Undo one `acquire` of a set that turned out to be useless; the next one loads the version anew."""
        with self._lock:
            weight_set.users -= 1
            if self._sets.get(weight_set.version) is weight_set:
                del self._sets[weight_set.version]

    def close(self) -> None:
        """Wait for the sets that are being loaded; fail those that have not begun. Closing twice is harmless."""
        with self._lock:
            self._closed = True
        self._loaders.shutdown(cancel_futures=True)
        with self._lock:
            awaited, self._awaited = self._awaited, {}
        for future in [future for awaiting in awaited.values() for future in awaiting]:
            future.set_exception(NotReady("no weights are loaded any more"))

    def _load_set(self, version: int) -> None:
        try:
            weights = self._loaded(version)
        except BaseException as error:
            with self._lock:
                awaiting = self._awaited.pop(version)
            for future in awaiting:
                future.set_exception(error)
            return
        with self._lock:
            awaiting = self._awaited.pop(version)
            loaded = WeightSet(version, weights, users=len(awaiting))
            self._sets[version] = loaded
            self._drop_unused()
        for future in awaiting:
            future.set_result(loaded)

    def _loaded(self, version: int) -> Mapping[int, Tensor]:
        """Load a version's matrices; where memory runs out, once more without the sets that nobody uses."""
        try:
            return self._load(version)
        except OutOfMemoryError:
            with self._lock:
                self._drop_unused(budget=0)
        return self._load(version)

    def _drop_unused(self, budget: int | None = None) -> None:
        """Drop sets that nobody uses, the least recently used first, until the rest fits into `budget`."""
        excess = sum(held.num_bytes for held in self._sets.values()) - (self._budget if budget is None else budget)
        for unused in [held for held in self._sets.values() if not held.users and held.num_bytes]:
            if excess <= 0:
                return
            excess -= unused.num_bytes
            del self._sets[unused.version]


def _give_way() -> None:
    """Let generation have the cores first: users notice a late token, and hardly a late version."""
    if sys.platform == "linux":  # elsewhere it would be the whole process that gives way
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
