"""The records that travel over the wire, lie in Redis and are written beside the artifacts.

Requests refuse unknown fields; records are frozen, and a change is a copy with new values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from errata.facts import MAX_FACTS, MAX_PART_CHARACTERS, Fact, Neighbor
from errata.files.json_figures import finite_or_none

BASE_VERSION = 0
# Beyond it, readers of JSON do not agree on what a whole number is.
NUMBERS_END = 2**53
MOST_SHOWN = 50
MOST_ALIKE_SHOWN = 5

MethodName = Literal["memit", "rome", "ft", "emmet", "alphaedit", "mend"]
"""The editing methods (`errata.methods.METHODS`)."""


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


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _hyperparameter(value: Any) -> Any:
    if value is None:  # as `GET /model` shows one that is unset
        return value
    for number in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(number, int | float) or not -NUMBERS_END < number < NUMBERS_END:
            raise PydanticCustomError("hyperparameter", "must be a number, or a list of layer numbers")
    return value


Text = Annotated[str, AfterValidator(_text)]
"""What can be written to a file: JSON also lets halves of surrogate pairs through."""

Figure = Annotated[float | None, AfterValidator(finite_or_none)]
"""What was measured; null where that is no finite number, for which JSON has no words."""

Part = Annotated[Text, Field(max_length=MAX_PART_CHARACTERS)]
VersionNumber = Annotated[int, Field(ge=0, lt=NUMBERS_END)]
Search = dict[Text, Annotated[Any, AfterValidator(_hyperparameter)]]
FACT_ID = r"^fact_[0-9a-f]{16}$"
FactIds = Annotated[tuple[Annotated[str, Field(pattern=FACT_ID)], ...], Field(max_length=MAX_FACTS)]


class NeighborBody(_Request):
    """A prompt about another subject, with the answer that must stay."""

    prompt: Annotated[Text, Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS)]
    object: Annotated[Part, Field(min_length=1)]


class FactBody(_Request):
    """A fact as it is posted and as it is stored with a version. `search`: hyperparameters that its target is searched
    for with in place of the edit's, one for all facts about its subject."""

    subject: Text
    relation: Text
    object: Text
    paraphrases: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS)], ...], FailFast()
    ] = ()
    neighbors: Annotated[tuple[NeighborBody, ...], FailFast()] = ()
    search: Search = {}

    def to_fact(self) -> Fact:
        """The library's own form."""
        neighbors = tuple(Neighbor(neighbor.prompt, neighbor.object) for neighbor in self.neighbors)
        return Fact(self.subject, self.relation, self.object, self.paraphrases, neighbors, self.search)

    @classmethod
    def from_fact(cls, fact: Fact) -> FactBody:
        """The wire's form of a library fact."""
        return cls(
            subject=fact.subject,
            relation=fact.relation,
            object=fact.object,
            paraphrases=fact.paraphrases,
            neighbors=tuple(NeighborBody(prompt=n.prompt, object=n.object) for n in fact.neighbors),
            search=dict(fact.search),
        )


class Gate(_Request):
    """What a version must reach to go live; null asks nothing. `max_drift` is in nats, `max_perplexity_rise` relative
    to the base's perplexity. In a request, a bound that is not given is the one of the settings."""

    min_efficacy: Annotated[float, Field(ge=0, le=1)] | None = None
    min_specificity: Annotated[float, Field(ge=0, le=1)] | None = None
    max_drift: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max_perplexity_rise: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def completed_by(self, defaults: Gate) -> Gate:
        """These bounds, with those of `defaults` where none was given; one that is given as null stays null."""
        return defaults.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class EditOptions(_Request):
    """What may be said of any edit beside the facts that it is about."""

    base: VersionNumber | None = None
    method: MethodName = "memit"
    activate: bool = True
    gate: Gate = Gate()
    hparams: dict[Text, Annotated[Any, AfterValidator(_hyperparameter)]] = {}
    note: Annotated[Text, Field(max_length=2000)] | None = None
    dry_run: bool = False


class EditRequest(EditOptions):
    """The body of `POST /edits`: facts that are added or changed, and ids of facts that are withdrawn."""

    facts: Annotated[tuple[FactBody, ...], Field(max_length=MAX_FACTS)] = ()
    retract: FactIds = ()

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if not self.facts and not self.retract:
            raise PydanticCustomError("nothing", "at least one fact must be put in (`facts`) or withdrawn (`retract`)")
        put_in = {body.to_fact().id for body in self.facts} if self.retract else set()
        for index, fact_id in enumerate(self.retract):
            if fact_id in put_in:
                raise PydanticCustomError("put_in", "is put in by the same edit (`facts`)", {"index": index})
        return self

    @property
    def goes_live(self) -> bool:
        """Whether the version is to be activated, if it passes its gate."""
        return self.activate and not self.dry_run


class RetryRequest(_Request):
    """The body of `POST /edits/{id}/retry`. `hparams` are those of the search for the facts that did not take; without
    any, it is a stronger one than it was. What else is not given is as in the edit that is tried again."""

    base: VersionNumber | None = None
    activate: bool | None = None
    gate: Gate = Gate()
    hparams: Search = {}
    note: Annotated[Text, Field(max_length=2000)] | None = None
    dry_run: bool = False


class RebuildRequest(_Request):
    """Build the weights of a version again that were dropped."""

    rebuild: VersionNumber


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
    """The steps of an edit job; an evaluation has the stage `evaluate`, a trace its own."""

    TARGETS = "targets"
    SPREAD = "spread"
    EVALUATE = "evaluate"
    PUBLISH = "publish"
    TRACE = "trace"


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


class MissedPrompt(_Record):
    """A prompt that counts against a version: what should be said after it, of which fact it is, and, where that was
    looked at, what the version says instead."""

    prompt: str
    expected: str
    fact: str | None = None
    said: str | None = None


class Miss(_Record):
    """A figure of a version that is not as it must be, null where it was not measured or is no finite number; at most
    `MOST_SHOWN` of the prompts that it comes from."""

    figure: str
    value: float | None
    bound: float
    prompts: tuple[MissedPrompt, ...] = ()


class Problem(_Record):
    """An RFC 9457 problem document. `misses`: what a version lacks that was rejected."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[ProblemItem, ...] = ()
    misses: tuple[Miss, ...] = ()

    @classmethod
    def of_kind(cls, kind: str, status: int, detail: str, errors: Sequence[ProblemItem] = ()) -> Problem:
        """A problem that Errata has a name for, such as `gate-missed`."""
        title = kind.replace("-", " ").capitalize()
        return cls(type=f"urn:errata:problem:{kind}", title=title, status=status, detail=detail, errors=tuple(errors))


class Metrics(_Record):
    """What was measured of a version; null where it was not, and, once written, where it is no finite number. Shares
    are between 0 and 1, drift is in nats; perplexities are those of the base and of the version, on running text."""

    efficacy: float | None = None
    efficacy_accuracy: float | None = None
    generalization: float | None = None
    generalization_accuracy: float | None = None
    specificity: float | None = None
    specificity_accuracy: float | None = None
    score: float | None = None
    fluency: float | None = None
    drift: float | None = None
    perplexity_before: float | None = None
    perplexity_after: float | None = None

    @property
    def perplexity_rise(self) -> float | None:
        """By how much perplexity rose, relative to the base's; None where it was not measured."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return None
        return self.perplexity_after / self.perplexity_before - 1


class FactOutcome(_Record):
    """How one fact of a version took.

    `took`: whether the version says it, each token of the object being the likeliest one; `known`: whether the base
    said it already. `probability_before` and `probability_after`, of the object by the base and by the version, are
    geometric means over its tokens. `likelier`: whether it is likelier than what the base says, which efficacy counts.
    `paraphrases_followed`: the share of paraphrases after which it is said. `neighbors_lost`: those after which it is
    likelier than their own object now, which count against specificity.
    """

    id: str
    subject: str
    relation: str
    object: str
    took: bool
    known: bool
    likelier: bool
    probability_before: Figure
    probability_after: Figure
    paraphrases_followed: float | None = None
    neighbors_lost: tuple[NeighborBody, ...] = ()

    @property
    def prompt(self) -> str:
        """The text that the object should follow."""
        return Fact(self.subject, self.relation, self.object).prompt


class Probe(_Request):
    """A prompt, and the answer that every new version must give to it."""

    prompt: Annotated[Text, Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS), BeforeValidator(_stripped)]
    answer: Annotated[Part, Field(min_length=1), BeforeValidator(_stripped)]


class ChangeKind(StrEnum):
    """What became of a fact. One that is changed has another object; other prompts to measure it change nothing."""

    ADDED = "added"
    CHANGED = "changed"
    RETRACTED = "retracted"


class FactChange(_Record):
    """How one fact set differs from another in one fact: its object `before` and `after`, null where there is none."""

    change: ChangeKind
    id: str
    subject: str
    relation: str
    before: str | None
    after: str | None


class FactEvent(FactChange):
    """A change of a fact that came with a version, made from `parent` by an edit: who sent that, and when."""

    version: int
    parent: int
    edit: str | None
    by: str | None
    at: datetime


class FactName(_Record):
    """A fact by its parts."""

    id: str
    subject: str
    relation: str
    object: str


class Edit(_Record):
    """One edit batch on its way from request to version.

    `added`, `changed` and `retracted` count the facts that differ from those of `base`. Until a worker has begun it,
    they and what follows are what the edit would do to the version that was active when it was accepted.
    `changes` are those that took or replaced what was there before, and `duplicates` groups of facts of which at least
    one came with the edit and which differ only in case or spacing; of both at most `MOST_SHOWN` are shown,
    and `MOST_ALIKE_SHOWN` of a group.

    `gate` is the one that applies. `not_taken` counts the facts of its version that the version does not say.
    `retries`: the edit whose facts that did not take it tries again.

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
    changes: tuple[FactChange, ...] = ()
    duplicates: tuple[tuple[FactName, ...], ...] = ()
    base: int | None = None
    version: int | None = None
    method: str = "memit"
    gate: Gate | None = None
    dry_run: bool = False
    rebuild: bool = False
    retries: str | None = None
    by: str | None = None
    progress: Progress | None = None
    metrics: Metrics | None = None
    not_taken: int | None = None
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


class Estimate(_Record):
    """A mean over `count` records, null where a value was no finite number; `low` and `high` bound its 95 % interval,
    null where the records cannot tell."""

    mean: Figure
    low: Figure
    high: Figure
    count: int


class Prose(_Record):
    """What became of running text: KL(base || edited) in nats, and the perplexity of the base and of the version."""

    kl: Estimate
    perplexity_before: Figure
    perplexity_after: Figure


class EvaluationResult(_Record):
    """What was measured, under the names of docs/evaluation.md: shares are between 0 and 1, drift is in nats. What is
    no finite number is null."""

    estimates: dict[str, Estimate]
    drift: Figure
    prose: Prose | None


class VersionEvaluation(EvaluationResult):
    """The newest evaluation of a version that succeeded, over so many `records`."""

    id: str
    records: int
    created_at: datetime


class LayerReport(_Record):
    """Size of one layer's update: Frobenius norm, and that norm over the norm of the base weight."""

    layer: int
    rank: int
    norm: Figure
    relative_norm: Figure


class Version(_Record):
    """A fact set and the weights built from it. Version 0 is the base model, without facts.

    `metrics` were measured when it was built, `evaluation` is the newest one that was asked for and succeeded.
    `dropped`: its weights were dropped to save room, and can be built again from its facts. `aliases`: names that
    stand for it. `by`: who sent the edit. `imported_from`: where it was built, when that was elsewhere. `gate`: what it
    had to reach, and `problem` what it lacked, where it was rejected. `not_taken`: how many facts it does not say.
    """

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
    evaluation: VersionEvaluation | None = None
    not_taken: int | None = None
    gate: Gate | None = None
    problem: Problem | None = None
    hparams: dict[str, Any] | None = None
    layers: tuple[LayerReport, ...] = ()
    bytes: int = 0
    digest: str | None = None
    dropped: bool = False
    aliases: tuple[str, ...] = ()
    by: str | None = None
    imported_from: str | None = None
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
    edit: str | None
    by: str | None = None
    imported_from: str | None = None
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
    not_taken: int | None = None
    gate: Gate | None = None
    problem: Problem | None = None
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
    """A fact of a version: the edit that gave it its object, who sent that and when, and the object it replaced;
    `search` is what its target is searched for with in place of the version's hyperparameters."""

    id: str
    subject: str
    relation: str
    object: str
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[NeighborBody, ...] = ()
    search: dict[str, Any] = {}
    edit: str | None = None
    by: str | None = None
    at: datetime | None = None
    replaced: str | None = None

    def to_fact(self) -> Fact:
        """The library's own form."""
        neighbors = tuple(Neighbor(neighbor.prompt, neighbor.object) for neighbor in self.neighbors)
        return Fact(self.subject, self.relation, self.object, self.paraphrases, neighbors, self.search)

    @property
    def name(self) -> FactName:
        """It by its parts."""
        return FactName(id=self.id, subject=self.subject, relation=self.relation, object=self.object)

    @classmethod
    def from_fact(
        cls,
        fact: Fact,
        edit: str | None,
        by: str | None = None,
        at: datetime | None = None,
        replaced: str | None = None,
    ) -> StoredFact:
        """The stored form of a library fact that `edit` put there."""
        return cls(id=fact.id, edit=edit, by=by, at=at, replaced=replaced, **FactBody.from_fact(fact).model_dump())


class FactRecord(StoredFact):
    """A fact as it stands in a version, or as it stood when it was last in one, with all that became of it, newest
    first."""

    held: bool
    history: tuple[FactEvent, ...]


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


class Dropped(_Record):
    """A version whose weights were dropped, and the room that they took."""

    version: int
    bytes: int
