"""What every job of a worker's process works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from errata.registry.registry import Registry
from errata.target_store import TargetStore
from worker.resident import Resident


@dataclass(frozen=True, slots=True)
class Equipment:
    """`worker` is the name of the worker; `must_stop` says that it has no more time for the job at hand."""

    registry: Registry
    resident: Resident
    targets: TargetStore
    worker: str
    must_stop: Callable[[], bool]
