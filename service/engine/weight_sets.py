"""The edited matrices of versions, loaded in the background and kept in memory while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

LOADED_AT_ONCE = 4


@dataclass(eq=False, slots=True)
class WeightSet:
    """One version's edited matrices by layer; `users` counts who needs them to stay."""

    version: int
    weights: Mapping[int, Tensor]
    users: int = 0

    @property
    def num_bytes(self) -> int:
        """Memory that the matrices take."""
        return sum(tensor.nbytes for tensor in self.weights.values())


class WeightSets:
    """Weight sets by version. Above `budget` bytes the least recently used go; one in use never does.

    What is in memory is given out at once, whatever is being loaded meanwhile.
    """

    def __init__(self, load: Callable[[int], Mapping[int, Tensor]], budget: int) -> None:
        self._load = load
        self._budget = budget
        self._sets: OrderedDict[int, WeightSet] = OrderedDict()
        self._awaited: dict[int, list[Future[WeightSet]]] = {}
        self._lock = threading.Lock()
        self._loaders = ThreadPoolExecutor(LOADED_AT_ONCE, thread_name_prefix="weight-sets")

    def hold(self, version: int) -> Future[WeightSet]:
        """A version's set, loaded if need be, kept until it is given to `release`. Fails as `load` does.

        However many ask for a version meanwhile, it is loaded once.
        """
        future: Future[WeightSet] = Future()
        with self._lock:
            if found := self._sets.get(version):
                found.users += 1
                self._sets.move_to_end(version)
                future.set_result(found)
            elif version in self._awaited:
                self._awaited[version].append(future)
            else:
                self._awaited[version] = [future]
                self._loaders.submit(self._bring, version)
        return future

    def release(self, held: WeightSet) -> None:
        """End what `hold` began."""
        with self._lock:
            held.users -= 1
            self._drop_unused()

    def close(self) -> None:
        """Load nothing more; what is being loaded comes to its end."""
        self._loaders.shutdown()

    def _bring(self, version: int) -> None:
        try:
            weights = self._load(version)
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

    def _drop_unused(self) -> None:
        excess = sum(held.num_bytes for held in self._sets.values()) - self._budget
        for unused in [held for held in self._sets.values() if not held.users]:
            if excess <= 0:
                return
            excess -= unused.num_bytes
            del self._sets[unused.version]
