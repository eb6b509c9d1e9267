"""Everything that Errata raises for a reason a user can act on.

An error knows its HTTP status and its kind, which an answer to a request and the outcome of a job both derive from
(`errata_registry.problems`), so that a fault is told alike wherever it shows. What a class does not name is its base's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A place in a request, as an RFC 6901 JSON pointer, and what is wrong there."""

    pointer: str
    detail: str


def pointer(*path: str | int) -> str:
    """Return the RFC 6901 JSON pointer of a place in a request."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


class ErrataError(Exception):
    """Base of all errors that Errata raises on purpose.

    Attributes:
        status: the HTTP status that tells of it.
        kind: its name in problem documents, `urn:errata:problem:<kind>`.
        places: the places in a request that are at fault, where they are known.
    """

    status: int = 500
    kind: str = "failed"
    places: tuple[Place, ...] = ()

    def __init_subclass__(cls, *, status: int | None = None, kind: str | None = None) -> None:
        cls.status, cls.kind = status or cls.status, kind or cls.kind


@dataclass(frozen=True, slots=True)
class FactProblem:
    """What is wrong with one fact: its place in the batch, the field at fault (`neighbors[2].prompt`), and why."""

    index: int
    field: str
    detail: str


class InvalidFacts(ErrataError, status=422, kind="invalid-facts"):
    """One or more facts cannot be edited in. `problems` names every one of them."""

    def __init__(self, problems: Sequence[FactProblem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(f"fact {first.index}, {first.field}: {first.detail}{_and_more(self.problems)}")


class TooManyFacts(InvalidFacts, kind="too-many-facts"):
    """A set would hold more facts than one may."""


class TooLong(InvalidFacts, kind="too-long"):
    """Prompts do not fit into the model's context."""


class InvalidRecords(ErrataError, status=422, kind="invalid-records"):
    """Records to measure with cannot be read, or there are none."""


class InvalidHyperparameters(ErrataError, status=422, kind="invalid-hyperparameters"):
    """A hyperparameter is unknown or out of its bounds. `name` is the one at fault."""

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"{name}: {detail}")


class TracingError(ErrataError, status=422, kind="invalid-trace"):
    """A prompt or a set of facts cannot be traced, or not with these settings."""


class DataSetError(ErrataError, status=422, kind="invalid-data-set"):
    """Records to compare methods on, or to tune on, cannot be read or fetched, are too few, or of another form."""


class IdempotencyMismatch(ErrataError, status=422, kind="idempotency-mismatch"):
    """The same idempotency key came with another body."""


class UnknownVersion(ErrataError, status=404, kind="unknown-version"):
    """There is no version of that number, or it was deleted."""


class UnknownJob(ErrataError, status=404, kind="unknown-job"):
    """There is no job of that id."""


class UnknownEdit(UnknownJob, kind="unknown-edit"):
    """There is no edit of that id."""


class UnknownMeasurement(UnknownJob, kind="unknown-measurement"):
    """There is no evaluation, or no trace, of that id."""


class UnknownFacts(ErrataError, status=404, kind="unknown-facts"):
    """Facts are to be withdrawn that `version` does not hold. `ids` names them."""

    def __init__(self, ids: Sequence[str], version: int, places: Sequence[Place] = ()) -> None:
        self.ids = tuple(ids)
        self.version = version
        self.places = tuple(places)
        super().__init__(f"{self.ids[0]} is not among the facts of version {version}{_and_more(self.ids)}")


class UnknownAlias(ErrataError, status=404, kind="unknown-alias"):
    """No version has that name."""


class Conflict(ErrataError, status=409, kind="conflict"):
    """The request contradicts the present state, for instance deleting the active version."""


class ProtectedAlias(Conflict, kind="protected-alias"):
    """A name that is protected would be moved or taken away, or its version deleted."""


class FactConflict(Conflict, kind="fact-conflict"):
    """Facts would be changed that were to be left alone. `places` names each."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        super().__init__(f"{self.places[0].detail}{_and_more(self.places)}")


class ModelError(ErrataError, status=409, kind="model-error"):
    """The base model cannot be loaded or edited."""


class UnsupportedArchitecture(ModelError):
    """Errata has no description of this model's architecture."""


class StatisticsError(ErrataError, status=409, kind="statistics-error"):
    """Second moments, or the network that MEND needs, are missing or do not belong to the model."""


class ArtifactError(ErrataError, status=409, kind="artifact-error"):
    """What is stored cannot be used."""


class CorruptArtifact(ArtifactError, kind="corrupt-artifact"):
    """A stored file is missing, truncated, altered or unreadable."""


class NewerHome(ArtifactError, kind="newer-home"):
    """A home folder has a form that only a newer program can read."""


class WrongBaseModel(ArtifactError, kind="wrong-base-model"):
    """A stored version was made for other base weights than the ones loaded."""


class WeightsDropped(ArtifactError, kind="weights-dropped"):
    """A version's weights were dropped to save room; they can be built again from its facts."""


class NotServable(ArtifactError, kind="not-servable"):
    """A version is whole, and cannot be served all the same: no text comes of it, or it does not fit into memory."""


class QueueFull(ErrataError, status=429, kind="queue-full"):
    """As many jobs are waiting as may; try again later."""


class NotFinite(ErrataError, kind="not-finite"):
    """A loss, a target or an update is not a finite number; nothing of it was kept."""


class WorkerDied(ErrataError, kind="worker-died"):
    """A job has lost as many workers as it may."""


class TimedOut(ErrataError, kind="timed-out"):
    """A job took longer than it may."""


class DeviceFailed(ErrataError, kind="device-failed"):
    """The device runs nothing any more, not even a token: a new process may."""


class OutOfMemory(ErrataError, kind="out-of-memory"):
    """The device has no more memory."""


class Cancelled(ErrataError, status=409, kind="cancelled"):
    """The user asked the job to stop."""


def _and_more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""
