"""What every job of a worker's process works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from errata_registry.registry import Registry

from errata.targets.store import BuildStore
from errata_worker.resident import Resident


@dataclass(frozen=True, slots=True)
class Equipment:
    """`worker` is the name of the worker; `must_stop` says that it has no more time for the job at hand."""

    registry: Registry
    resident: Resident
    targets: BuildStore
    worker: str
    must_stop: Callable[[], bool]
