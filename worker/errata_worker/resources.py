"""What every task of a worker's process works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from errata_registry.registry import Registry

from errata.targets.store import BuildStore
from errata_worker.resident_model import ResidentModel


@dataclass(frozen=True, slots=True)
class Resources:
    """The registry, the model and what was found before.

    Attributes:
        worker: name of the worker.
        must_stop: whether the worker has no more time for the task at hand.
    """

    registry: Registry
    resident: ResidentModel
    targets: BuildStore
    worker: str
    must_stop: Callable[[], bool]
