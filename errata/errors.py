"""Everything that Errata raises for a reason a user can act on.

ErrataError
├── InvalidFacts             facts that cannot be edited in; names each one
├── InvalidRecords           records to measure with cannot be read, or are missing
├── InvalidHyperparameters   an unknown name or a value out of its bounds
├── ModelError               the base model cannot be loaded or edited
│   └── UnsupportedArchitecture
├── StatisticsError          second moments, or a trained network, are missing or another model's
├── ArtifactError            a stored version cannot be used
│   ├── CorruptArtifact      truncated, altered or unreadable
│   ├── WeightsDropped       its weights were dropped to save room
│   └── WrongBaseModel       made for other base weights
├── TracingError             a prompt or a set of facts cannot be traced
├── DataSetError             records of a benchmark are missing, too few or of another form
├── NotFinite                the computation left the range of finite numbers
├── UnknownVersion           no such version, or one that was deleted
├── UnknownEdit              no such edit
├── UnknownMeasurement       no such evaluation or trace
├── UnknownFacts             facts that are to be withdrawn and are not there
├── UnknownAlias             no version has that name
├── Conflict                 the request contradicts the present state
│   └── FactConflict         facts that are there with another object
├── IdempotencyMismatch      an idempotency key was used before with another body
├── QueueFull                as many edits, or measurements, wait as may
└── Cancelled                the user asked the edit, or the measurement, to stop
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
        super().__init__(f"fact {first.index}, {first.field}: {first.detail}{_and_more(self.problems)}")


class InvalidRecords(ErrataError):
    """Records to measure with cannot be read, or there are none."""


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
    """Second moments, or the network that MEND needs, are missing or do not belong to the model."""


class ArtifactError(ErrataError):
    """A stored version cannot be used."""


class CorruptArtifact(ArtifactError):
    """A stored file is missing, truncated, altered or unreadable."""


class WrongBaseModel(ArtifactError):
    """A stored version was made for other base weights than the ones loaded."""


class WeightsDropped(ArtifactError):
    """A version's weights were dropped to save room; they can be built again from its facts."""


class TracingError(ErrataError):
    """A prompt or a set of facts cannot be traced, or not with these settings."""


class DataSetError(ErrataError):
    """Records to compare methods on, or to tune on, cannot be read or fetched, are too few, or of another form."""


class NotFinite(ErrataError):
    """A loss, a target or an update is not a finite number; nothing of it was kept."""


class UnknownVersion(ErrataError):
    """There is no version of that number, or it was deleted."""


class UnknownEdit(ErrataError):
    """There is no edit of that id."""


class UnknownMeasurement(ErrataError):
    """There is no evaluation, or no trace, of that id."""


class Conflict(ErrataError):
    """The request contradicts the present state, for instance deleting the active version."""


class FactConflict(Conflict):
    """Facts would be changed that were to be left alone. `facts` holds the id of each and what is to be said of it."""

    def __init__(self, facts: Sequence[tuple[str, str]]) -> None:
        self.facts = tuple(facts)
        super().__init__(f"{self.facts[0][1]}{_and_more(self.facts)}")


class UnknownFacts(ErrataError):
    """Facts are to be withdrawn that `version` does not hold. `ids` names them."""

    def __init__(self, ids: Sequence[str], version: int) -> None:
        self.ids = tuple(ids)
        self.version = version
        super().__init__(f"{self.ids[0]} is not among the facts of version {version}{_and_more(self.ids)}")


class UnknownAlias(ErrataError):
    """No version has that name."""


class IdempotencyMismatch(ErrataError):
    """The same idempotency key came with another body."""


class QueueFull(ErrataError):
    """As many edits, or measurements, are waiting as may; try again later."""


class Cancelled(ErrataError):
    """The user asked the edit, or the measurement, to stop."""


def _and_more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""
