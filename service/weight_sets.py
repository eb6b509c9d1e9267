"""The edited matrices of versions, kept in memory while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


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
    """Weight sets by version. Above `budget` bytes the least recently used go; one in use never does."""

    def __init__(self, load: Callable[[int], Mapping[int, Tensor]], budget: int) -> None:
        self._load = load
        self._budget = budget
        self._sets: OrderedDict[int, WeightSet] = OrderedDict()
        self._lock = threading.Lock()
        # Apart from the other lock: what is in memory is given out while another version is read from disk.
        self._loading = threading.Lock()

    def hold(self, version: int) -> WeightSet:
        """A version's set, loaded if need be, kept until it is given to `release`. Raises what `load` raises."""
        if found := self._found(version):
            return found
        with self._loading:
            if found := self._found(version):
                return found
            loaded = WeightSet(version, self._load(version), users=1)
            with self._lock:
                self._sets[version] = loaded
                self._drop_unused()
            return loaded

    def release(self, held: WeightSet) -> None:
        """End what `hold` began."""
        with self._lock:
            held.users -= 1
            self._drop_unused()

    def _found(self, version: int) -> WeightSet | None:
        with self._lock:
            found = self._sets.get(version)
            if found is not None:
                found.users += 1
                self._sets.move_to_end(version)
            return found

    def _drop_unused(self) -> None:
        excess = sum(held.num_bytes for held in self._sets.values()) - self._budget
        for unused in [held for held in self._sets.values() if not held.users]:
            if excess <= 0:
                return
            excess -= unused.num_bytes
            del self._sets[unused.version]
