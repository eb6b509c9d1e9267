"""The records that travel over the wire, lie in Redis and are written beside the artifacts.

Requests refuse unknown fields; records are frozen, and a change is a copy with new values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field
from pydantic_core import PydanticCustomError

from errata.facts import MAX_FACTS, MAX_PART_CHARACTERS, Fact, Neighbor

BASE_VERSION = 0
# Beyond it, readers of JSON do not agree on what a whole number is.
NUMBERS_END = 2**53


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("text", "holds half a surrogate pair, which is no character") from error
    return value


def _hyperparameter(value: Any) -> Any:
    if value is None:  # as `GET /model` shows one that is unset
        return value
    for number in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(number, int | float) or not -NUMBERS_END < number < NUMBERS_END:
            raise PydanticCustomError("hyperparameter", "must be a number, or a list of layer numbers")
    return value


Text = Annotated[str, AfterValidator(_text)]
"""What can be written to a file: JSON also lets halves of surrogate pairs through."""

Part = Annotated[Text, Field(max_length=MAX_PART_CHARACTERS)]
VersionNumber = Annotated[int, Field(ge=0, lt=NUMBERS_END)]


class NeighborBody(_Request):
    """A prompt about another subject, with the answer that must stay."""

    prompt: Annotated[Text, Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS)]
    object: Annotated[Part, Field(min_length=1)]


class FactBody(_Request):
    """A fact as it is posted and as it is stored with a version."""

    subject: Text
    relation: Text
    object: Text
    paraphrases: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS)], ...], FailFast()
    ] = ()
    neighbors: Annotated[tuple[NeighborBody, ...], FailFast()] = ()

    def to_fact(self) -> Fact:
        """The library's own form."""
        neighbors = tuple(Neighbor(neighbor.prompt, neighbor.object) for neighbor in self.neighbors)
        return Fact(self.subject, self.relation, self.object, self.paraphrases, neighbors)

    @classmethod
    def from_fact(cls, fact: Fact) -> FactBody:
        """The wire's form of a library fact."""
        return cls(
            subject=fact.subject,
            relation=fact.relation,
            object=fact.object,
            paraphrases=fact.paraphrases,
            neighbors=tuple(NeighborBody(prompt=n.prompt, object=n.object) for n in fact.neighbors),
        )


class Gate(_Request):
    """What a version must reach to go live; null asks nothing."""

    min_efficacy: Annotated[float, Field(ge=0, le=1)] | None = 0.9
    min_specificity: Annotated[float, Field(ge=0, le=1)] | None = None
    max_drift: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class EditRequest(_Request):
    """The body of `POST /edits`."""

    facts: Annotated[tuple[FactBody, ...], Field(min_length=1, max_length=MAX_FACTS)]
    base: VersionNumber | None = None
    method: Literal["memit"] = "memit"
    activate: bool = True
    gate: Gate = Gate()
    hparams: dict[Text, Annotated[Any, AfterValidator(_hyperparameter)]] = {}
    note: Annotated[Text, Field(max_length=2000)] | None = None
    dry_run: bool = False


class EditStatus(StrEnum):
    """Where an edit stands. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the edit."""
        return self not in (EditStatus.QUEUED, EditStatus.RUNNING)


class Stage(StrEnum):
    """The steps of an edit job."""

    TARGETS = "targets"
    SPREAD = "spread"
    EVALUATE = "evaluate"
    PUBLISH = "publish"


class Progress(_Record):
    """How far a stage is: `done` of `total` units, and the seconds it will still take where known."""

    stage: Stage
    done: int
    total: int
    eta_s: float | None = None


class ProblemItem(_Record):
    """One fault in a body, as a JSON pointer and what is wrong there."""

    pointer: str
    detail: str


class Problem(_Record):
    """An RFC 9457 problem document."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[ProblemItem, ...] = ()

    @classmethod
    def of_kind(cls, kind: str, status: int, detail: str, errors: Sequence[ProblemItem] = ()) -> Problem:
        """A problem that Errata has a name for, such as `gate-missed`."""
        title = kind.replace("-", " ").capitalize()
        return cls(type=f"urn:errata:problem:{kind}", title=title, status=status, detail=detail, errors=tuple(errors))


class Metrics(_Record):
    """What was measured of a version; null where it was not. Shares are between 0 and 1, drift is in nats."""

    efficacy: float | None = None
    efficacy_accuracy: float | None = None
    generalization: float | None = None
    generalization_accuracy: float | None = None
    specificity: float | None = None
    specificity_accuracy: float | None = None
    score: float | None = None
    fluency: float | None = None
    drift: float | None = None


class Edit(_Record):
    """One edit batch on its way from request to version.

    `attempts` is how often it was begun: once, and once more for each worker that was lost with a job of it in hand,
    the edit's own or that of a target shard. What a stopping worker put back does not count.
    """

    id: str
    object: Literal["edit"] = "edit"
    status: EditStatus = EditStatus.QUEUED
    facts: int
    added: int | None = None
    changed: int | None = None
    retracted: int | None = None
    base: int | None = None
    version: int | None = None
    method: str = "memit"
    dry_run: bool = False
    progress: Progress | None = None
    metrics: Metrics | None = None
    error: Problem | None = None
    attempts: int = 0
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    note: str | None = None


class VersionStatus(StrEnum):
    """`active` is the one that serves; `rejected` failed its gate."""

    READY = "ready"
    ACTIVE = "active"
    REJECTED = "rejected"


class LayerReport(_Record):
    """Size of one layer's update: Frobenius norm, and that norm over the norm of the base weight."""

    layer: int
    rank: int
    norm: float
    relative_norm: float


class Version(_Record):
    """A fact set and the weights built from it. Version 0 is the base model, without facts."""

    id: int
    parent: int | None = None
    edit: str | None = None
    method: str | None = None
    status: VersionStatus = VersionStatus.READY
    facts: int = 0
    added: int = 0
    changed: int = 0
    retracted: int = 0
    metrics: Metrics = Metrics()
    hparams: dict[str, Any] | None = None
    layers: tuple[LayerReport, ...] = ()
    bytes: int = 0
    digest: str | None = None
    created_at: datetime
    note: str | None = None


class StoredFile(_Record):
    """A file of a version, by what it must be."""

    sha256: str
    bytes: int


class BaseModelName(_Record):
    """The base model that a version was built on."""

    name: str
    digest: str
    dtype: str


class Manifest(_Record):
    """`manifest.json` of a version: all that is needed to use it, to explain it and to build it again."""

    format: int = 1
    id: int
    parent: int
    edit: str
    method: str
    status: VersionStatus
    base_model: BaseModelName
    hparams: dict[str, Any]
    contexts: tuple[str, ...]
    facts: int
    added: int
    changed: int
    retracted: int
    metrics: Metrics
    layers: tuple[LayerReport, ...]
    libraries: dict[str, str]
    created_at: datetime
    note: str | None = None
    files: dict[str, StoredFile] = {}

    def version(self) -> Version:
        """The record of it that the wire shows."""
        shared = {name: getattr(self, name) for name in Version.model_fields if hasattr(self, name)}
        delta = self.files["delta.safetensors"]
        return Version(**shared, bytes=sum(file.bytes for file in self.files.values()), digest=delta.sha256)


class StoredFact(_Record):
    """A fact of a version, with the edit that put it there."""

    id: str
    subject: str
    relation: str
    object: str
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[NeighborBody, ...] = ()
    edit: str | None = None

    def to_fact(self) -> Fact:
        """The library's own form."""
        neighbors = tuple(Neighbor(neighbor.prompt, neighbor.object) for neighbor in self.neighbors)
        return Fact(self.subject, self.relation, self.object, self.paraphrases, neighbors)

    @classmethod
    def from_fact(cls, fact: Fact, edit: str) -> StoredFact:
        """The stored form of a library fact that `edit` put there."""
        return cls(id=fact.id, edit=edit, **FactBody.from_fact(fact).model_dump())


class Replica(_Record):
    """A serving process, the version it serves, and of its last change of version: how long it took to load the
    weights, while what was served went on, and to put them in place."""

    id: str
    version: int
    load_ms: float | None = None
    swap_ms: float | None = None


class Activation(_Record):
    """The answer to an activation: every live replica serves `active` when it is given."""

    active: int
    previous: int
    replicas: tuple[Replica, ...] = ()
