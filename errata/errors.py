"""Everything that Errata raises for a reason a user can act on.

ErrataError
├── InvalidFacts             facts that cannot be edited in; names each one
├── InvalidHyperparameters   an unknown name or a value out of its bounds
├── ModelError               the base model cannot be loaded or edited
│   └── UnsupportedArchitecture
├── StatisticsError          second moments are missing, or are another model's
├── ArtifactError            a stored version cannot be used
│   ├── CorruptArtifact      truncated, altered or unreadable
│   └── WrongBaseModel       made for other base weights
├── NotFinite                the computation left the range of finite numbers
├── UnknownVersion           no such version, or one that was deleted
├── UnknownEdit              no such edit
├── Conflict                 the request contradicts the present state
├── IdempotencyMismatch      an idempotency key was used before with another body
├── QueueFull                as many edits wait as may
└── Cancelled                the user asked the edit to stop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ErrataError(Exception):
    """Base of all errors that Errata raises on purpose."""


@dataclass(frozen=True, slots=True)
class FactProblem:
    """What is wrong with one fact: its place in the batch, the field at fault, and why."""

    index: int
    field: str
    detail: str


class InvalidFacts(ErrataError):
    """One or more facts cannot be edited in. `problems` names every one of them."""

    def __init__(self, problems: Sequence[FactProblem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(f"fact {first.index}, {first.field}: {first.detail}{more}")


class InvalidHyperparameters(ErrataError):
    """A hyperparameter is unknown or out of its bounds. `name` is the one at fault."""

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"{name}: {detail}")


class ModelError(ErrataError):
    """The base model cannot be loaded or edited."""


class UnsupportedArchitecture(ModelError):
    """Errata has no description of this model's architecture."""


class StatisticsError(ErrataError):
    """Second-moment statistics are missing or do not belong to the model."""


class ArtifactError(ErrataError):
    """A stored version cannot be used."""


class CorruptArtifact(ArtifactError):
    """A stored file is missing, truncated, altered or unreadable."""


class WrongBaseModel(ArtifactError):
    """A stored version was made for other base weights than the ones loaded."""


class NotFinite(ErrataError):
    """A loss, a target or an update is not a finite number; nothing of it was kept."""


class UnknownVersion(ErrataError):
    """There is no version of that number, or it was deleted."""


class UnknownEdit(ErrataError):
    """There is no edit of that id."""


class Conflict(ErrataError):
    """The request contradicts the present state, for instance deleting the active version."""


class IdempotencyMismatch(ErrataError):
    """The same idempotency key came with another body."""


class QueueFull(ErrataError):
    """As many edits are waiting as may; try again later."""


class Cancelled(ErrataError):
    """The user asked the edit to stop."""
