"""Everything that Errata raises for a reason a user can act on.

An error knows its HTTP status and its kind, which an answer to a request and the outcome of a job both derive from
(`errata_registry.problems`), so that a fault is told alike wherever it shows. A kind that the tree does not name is the
one of the line above it.

ErrataError                     500 failed
├── InvalidFacts                422 invalid-facts: facts that cannot be edited in; names each one
│   ├── TooManyFacts            422 too-many-facts: more than one set may hold
│   └── TooLong                 422 too-long: prompts that do not fit into the model's context
├── InvalidRecords              422 invalid-records: records to measure with cannot be read, or are missing
├── InvalidHyperparameters      422 invalid-hyperparameters: an unknown name or a value out of its bounds
├── TracingError                422 invalid-trace: a prompt or a set of facts cannot be traced
├── DataSetError                422 invalid-data-set: records of a benchmark are missing, too few or of another form
├── IdempotencyMismatch         422 idempotency-mismatch: a key was used before with another body
├── UnknownVersion              404 unknown-version: no such version, or one that was deleted
├── UnknownJob                  404 unknown-job
│   ├── UnknownEdit             404 unknown-edit
│   └── UnknownMeasurement      404 unknown-measurement: no such evaluation or trace
├── UnknownFacts                404 unknown-facts: facts that are to be withdrawn and are not there
├── UnknownAlias                404 unknown-alias: no version has that name
├── Conflict                    409 conflict: the request contradicts the present state
│   └── FactConflict            409 fact-conflict: facts that are there with another object
├── ModelError                  409 model-error: the base model cannot be loaded or edited
│   └── UnsupportedArchitecture
├── StatisticsError             409 statistics-error: second moments, or a network, are missing or another model's
├── ArtifactError               409 artifact-error: what is stored cannot be used
│   ├── CorruptArtifact         409 corrupt-artifact: truncated, altered or unreadable
│   ├── NewerHome               409 newer-home: the home folder was written by a newer program
│   ├── WeightsDropped          409 weights-dropped: to save room
│   └── WrongBaseModel          409 wrong-base-model: made for other base weights
├── QueueFull                   429 queue-full: as many jobs wait as may
├── NotFinite                   500 not-finite: the computation left the range of finite numbers
├── WorkerDied                  500 worker-died: a job has lost too many workers
├── TimedOut                    500 timed-out: a job took longer than it may
├── OutOfMemory                 500 out-of-memory: the device has no more memory
└── Cancelled                   409 cancelled: the user asked the job to stop
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class FactProblem:
    """What is wrong with one fact: its place in the batch, the field at fault (`neighbors[2].prompt`), and why."""

    index: int
    field: str
    detail: str


class InvalidFacts(ErrataError):
    """One or more facts cannot be edited in. `problems` names every one of them."""

    status = 422
    kind = "invalid-facts"

    def __init__(self, problems: Sequence[FactProblem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(f"fact {first.index}, {first.field}: {first.detail}{_and_more(self.problems)}")


class TooManyFacts(InvalidFacts):
    """A set would hold more facts than one may."""

    kind = "too-many-facts"


class TooLong(InvalidFacts):
    """Prompts do not fit into the model's context."""

    kind = "too-long"


class InvalidRecords(ErrataError):
    """Records to measure with cannot be read, or there are none."""

    status = 422
    kind = "invalid-records"


class InvalidHyperparameters(ErrataError):
    """A hyperparameter is unknown or out of its bounds. `name` is the one at fault."""

    status = 422
    kind = "invalid-hyperparameters"

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"{name}: {detail}")


class TracingError(ErrataError):
    """A prompt or a set of facts cannot be traced, or not with these settings."""

    status = 422
    kind = "invalid-trace"


class DataSetError(ErrataError):
    """Records to compare methods on, or to tune on, cannot be read or fetched, are too few, or of another form."""

    status = 422
    kind = "invalid-data-set"


class IdempotencyMismatch(ErrataError):
    """The same idempotency key came with another body."""

    status = 422
    kind = "idempotency-mismatch"


class UnknownVersion(ErrataError):
    """There is no version of that number, or it was deleted."""

    status = 404
    kind = "unknown-version"


class UnknownJob(ErrataError):
    """There is no job of that id."""

    status = 404
    kind = "unknown-job"


class UnknownEdit(UnknownJob):
    """There is no edit of that id."""

    kind = "unknown-edit"


class UnknownMeasurement(UnknownJob):
    """There is no evaluation, or no trace, of that id."""

    kind = "unknown-measurement"


class UnknownFacts(ErrataError):
    """Facts are to be withdrawn that `version` does not hold. `ids` names them."""

    status = 404
    kind = "unknown-facts"

    def __init__(self, ids: Sequence[str], version: int, places: Sequence[Place] = ()) -> None:
        self.ids = tuple(ids)
        self.version = version
        self.places = tuple(places)
        super().__init__(f"{self.ids[0]} is not among the facts of version {version}{_and_more(self.ids)}")


class UnknownAlias(ErrataError):
    """No version has that name."""

    status = 404
    kind = "unknown-alias"


class Conflict(ErrataError):
    """The request contradicts the present state, for instance deleting the active version."""

    status = 409
    kind = "conflict"


class FactConflict(Conflict):
    """Facts would be changed that were to be left alone. `places` names each."""

    kind = "fact-conflict"

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        super().__init__(f"{self.places[0].detail}{_and_more(self.places)}")


class ModelError(ErrataError):
    """The base model cannot be loaded or edited."""

    status = 409
    kind = "model-error"


class UnsupportedArchitecture(ModelError):
    """Errata has no description of this model's architecture."""


class StatisticsError(ErrataError):
    """Second moments, or the network that MEND needs, are missing or do not belong to the model."""

    status = 409
    kind = "statistics-error"


class ArtifactError(ErrataError):
    """What is stored cannot be used."""

    status = 409
    kind = "artifact-error"


class CorruptArtifact(ArtifactError):
    """A stored file is missing, truncated, altered or unreadable."""

    kind = "corrupt-artifact"


class NewerHome(ArtifactError):
    """A home folder has a form that only a newer program can read."""

    kind = "newer-home"


class WrongBaseModel(ArtifactError):
    """A stored version was made for other base weights than the ones loaded."""

    kind = "wrong-base-model"


class WeightsDropped(ArtifactError):
    """A version's weights were dropped to save room; they can be built again from its facts."""

    kind = "weights-dropped"


class QueueFull(ErrataError):
    """As many jobs are waiting as may; try again later."""

    status = 429
    kind = "queue-full"


class NotFinite(ErrataError):
    """A loss, a target or an update is not a finite number; nothing of it was kept."""

    kind = "not-finite"


class WorkerDied(ErrataError):
    """A job has lost as many workers as it may."""

    kind = "worker-died"


class TimedOut(ErrataError):
    """A job took longer than it may."""

    kind = "timed-out"


class OutOfMemory(ErrataError):
    """The device has no more memory."""

    kind = "out-of-memory"


class Cancelled(ErrataError):
    """The user asked the job to stop."""

    status = 409
    kind = "cancelled"


def _and_more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""
