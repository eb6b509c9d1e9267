"""What the service answers, as typed records.

Records are frozen. A field that a newer server adds is kept (`record.model_extra`), never an error.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict

EditStatus = Literal["queued", "running", "succeeded", "rejected", "failed", "cancelled"]
MeasurementStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
VersionStatus = Literal["ready", "active", "rejected"]
ChangeKind = Literal["added", "changed", "retracted"]


class Record(BaseModel):
    """Base of everything that the service answers."""

    model_config = ConfigDict(frozen=True, extra="allow")


T = TypeVar("T", bound=Record)


class Page(Record, Generic[T]):
    """A part of a list; `next` is the cursor of the part after it."""

    data: list[T]
    has_more: bool = False
    next: str | int | None = None


class FieldProblem(Record):
    """One fault in what was sent: a JSON pointer ("/facts/3/object") and what is wrong there."""

    pointer: str
    detail: str


class MissedPrompt(Record):
    """A prompt that counts against a version: what should be said after it, of which fact it is, and, of a probe, what
    the version says instead."""

    prompt: str
    expected: str
    fact: str | None = None
    said: str | None = None


class Miss(Record):
    """A figure of a version that is not as it must be, null where it was not measured; the first of the prompts that it
    comes from."""

    figure: str
    value: float | None = None
    bound: float
    prompts: list[MissedPrompt] = []


class Problem(Record):
    """A problem document (RFC 9457): why the service refused or failed. `misses`: what a rejected version lacks."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] = []
    misses: list[Miss] = []


class Progress(Record):
    """How far a stage is: `done` of `total` units, and the seconds that remain where they are known."""

    stage: str
    done: int
    total: int
    eta_s: float | None = None


class Metrics(Record):
    """What was measured of a version, null where it was not. Shares are from 0 to 1, drift is in nats; perplexities are
    those of the base and of the version, on running text."""

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


class Gate(Record):
    """What a version must reach to go live; null asks nothing."""

    min_efficacy: float | None = None
    min_specificity: float | None = None
    max_drift: float | None = None
    max_perplexity_rise: float | None = None


class FactChange(Record):
    """How a fact set differs from another in one fact: its object `before` and `after`, null where there is none."""

    change: ChangeKind
    id: str
    subject: str
    relation: str
    before: str | None = None
    after: str | None = None


class FactEvent(FactChange):
    """A change of a fact that came with a version, made from `parent` by an edit: who sent that, and when."""

    version: int
    parent: int
    edit: str | None = None
    by: str | None = None
    at: datetime


class FactName(Record):
    """A fact by its parts."""

    id: str
    subject: str
    relation: str
    object: str


class EditRecord(Record):
    """One edit batch on its way from the request to a version.

    Until a worker has begun it, `added`, `changed`, `retracted`, `changes` and `duplicates` tell what it would do to
    the version that was active when it was accepted. `changes`: the facts that it changes or withdraws, with the
    objects that they had. `duplicates`: groups of facts that differ only in case or spacing, at least one of them of
    this edit. Of both, the service shows the first ones only. `rebuild`: it builds dropped weights of `version` again.
    `not_taken`: how many facts of its version that does not say; `fact_outcomes` lists them. `retries`: the edit whose
    facts that did not take it tries again.
    """

    id: str
    object: str = "edit"
    status: EditStatus
    facts: int
    added: int | None = None
    changed: int | None = None
    retracted: int | None = None
    changes: list[FactChange] = []
    duplicates: list[list[FactName]] = []
    base: int | None = None
    version: int | None = None
    method: str | None = None
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

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the edit."""
        return self.status not in ("queued", "running")


class Estimate(Record):
    """A mean over `count` records, None where a value was no finite number; `low` and `high` bound its 95 % interval,
    None where the records cannot tell."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    count: int


class Prose(Record):
    """What became of running text: KL(base || edited) in nats, and the perplexity of the base and of the version."""

    kl: Estimate
    perplexity_before: float | None = None
    perplexity_after: float | None = None


class EvaluationResult(Record):
    """What was measured, by the names of the metrics; drift is in nats. What is no finite number is None."""

    estimates: dict[str, Estimate]
    drift: float | None = None
    prose: Prose | None = None


class VersionEvaluation(EvaluationResult):
    """The newest evaluation of a version that succeeded, over so many `records`."""

    id: str
    records: int
    created_at: datetime


class Measurement(Record):
    """What an evaluation and a trace have in common, as they stood when they were asked for."""

    id: str
    object: str
    status: MeasurementStatus
    seed: int = 0
    progress: Progress | None = None
    error: Problem | None = None
    attempts: int = 0
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    by: str | None = None
    note: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in ("queued", "running")


class Evaluation(Measurement):
    """How a version answers about `records`, or, with `own_facts`, about its own facts."""

    version: int
    records: int
    own_facts: bool = False
    zsre_object: str | None = None
    generation: bool = False
    prose: bool = True
    result: EvaluationResult | None = None


class TraceResult(Record):
    """The gist of a trace. `clean` and `corrupted` are probabilities of the answer, for facts their means over those
    that the model knows (`traced`); `layers` are those proposed to be edited, which one prompt does not tell."""

    answer: str | None = None
    clean: float | None = None
    corrupted: float | None = None
    traced: int
    window: int
    layers: list[int] | None = None
    peak: int | None = None


class Trace(Measurement):
    """Which layers of the base model recall the answer to a prompt, or facts, of which it counts `facts`."""

    prompt: str | None = None
    subject: str | None = None
    answer: str | None = None
    facts: int | None = None
    window: int | None = None
    noise_level: float | None = None
    num_samples: int | None = None
    severed_only: bool = False
    result: TraceResult | None = None
    figures: list[str] = []


class LayerChange(Record):
    """The size of one layer's update: Frobenius norm, and that over the norm of the base weight."""

    layer: int
    rank: int
    norm: float | None = None
    relative_norm: float | None = None


class Version(Record):
    """A set of facts and the weights built from it. Version 0 is the base model.

    `dropped`: its weights were dropped to save room; `rebuild` builds them again. `aliases`: the names that stand for
    it. `by`: who sent the edit. `imported_from`: where it was built, when that was elsewhere. `metrics` were measured
    when it was built, `evaluation` is the newest one that succeeded. `gate`: what it had to reach, and `problem` what
    it lacked, where it was rejected. `not_taken`: how many facts it does not say.
    """

    id: int
    parent: int | None = None
    edit: str | None = None
    method: str | None = None
    status: VersionStatus
    facts: int = 0
    added: int | None = None
    changed: int | None = None
    retracted: int | None = None
    metrics: Metrics | None = None
    evaluation: VersionEvaluation | None = None
    not_taken: int | None = None
    gate: Gate | None = None
    problem: Problem | None = None
    hparams: dict[str, Any] | None = None
    layers: list[LayerChange] = []
    bytes: int | None = None
    digest: str | None = None
    dropped: bool = False
    aliases: list[str] = []
    by: str | None = None
    imported_from: str | None = None
    created_at: datetime | None = None
    note: str | None = None


class StoredNeighbor(Record):
    """A prompt about another subject, and the answer that must stay."""

    prompt: str
    object: str


class StoredFact(Record):
    """A fact as a version holds it: the edit that gave it its object, who sent that and when, and what it replaced.

    `search`: what its target is searched for with in place of the version's hyperparameters.
    """

    id: str
    subject: str
    relation: str
    object: str
    paraphrases: list[str] = []
    neighbors: list[StoredNeighbor] = []
    search: dict[str, Any] = {}
    edit: str | None = None
    by: str | None = None
    at: datetime | None = None
    replaced: str | None = None


class FactRecord(StoredFact):
    """A fact as it stands in a version, or, where that does not hold it (`held`), as it was when it was last in one.

    `history`: what became of it in all versions, newest first.
    """

    held: bool
    history: list[FactEvent] = []


class FactOutcome(Record):
    """How one fact of a version took.

    `took`: whether the version says it; `known`: whether the base said it already. `probability_before` and
    `probability_after`, of the object by the base and by the version, are geometric means over its tokens. `likelier`:
    whether it is likelier than what the base says, which efficacy counts. `paraphrases_followed`: the share of
    paraphrases after which it is said. `neighbors_lost`: those after which it is likelier than their own object now.
    """

    id: str
    subject: str
    relation: str
    object: str
    took: bool
    known: bool
    likelier: bool
    probability_before: float | None = None
    probability_after: float | None = None
    paraphrases_followed: float | None = None
    neighbors_lost: list[StoredNeighbor] = []


class Probe(Record):
    """A prompt, and the answer that every new version must give to it."""

    prompt: str
    answer: str


class ProbesPut(Record):
    """How many probes there are now, and which of them the version that serves fails."""

    probes: int
    version: int
    failing: list[MissedPrompt] = []


class Diff(Record):
    """How the facts of version `after` differ from those of version `before`."""

    before: int
    after: int
    added: tuple[FactChange, ...]
    changed: tuple[FactChange, ...]
    retracted: tuple[FactChange, ...]

    @classmethod
    def of(cls, before: int, after: int, changes: Iterable[FactChange]) -> Self:
        """Of all changes, sorted by their kind."""
        kinds: dict[ChangeKind, list[FactChange]] = {"added": [], "changed": [], "retracted": []}
        for change in changes:
            kinds[change.change].append(change)
        return cls.model_validate({"before": before, "after": after, **kinds})


class Usage(Record):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int


class Completion(Record):
    """The text that follows one prompt. `finish_reason` is "stop" or "length"."""

    prompt: str
    text: str
    finish_reason: str
    usage: Usage


class Generation(Record):
    """One completion for each prompt, in the order of the prompts, and the version that wrote them."""

    data: list[Completion]
    version: int | str

    @property
    def texts(self) -> list[str]:
        """The completions' texts, one for each prompt."""
        return [completion.text for completion in self.data]

    @property
    def text(self) -> str:
        """The text for the only prompt. Raises `ValueError` where there were several: use `texts`."""
        [text] = self.texts
        return text


class Replica(Record):
    """A serving process, the version it serves, and how many milliseconds its last change of version took: to load
    the weights, while what was served went on, and to put them in place."""

    id: str
    version: int
    load_ms: float | None = None
    swap_ms: float | None = None


class Alias(Record):
    """A name, and the version that it stands for."""

    name: str
    version: int


class Activation(Record):
    """The version that serves now, the one that served before, and who serves it."""

    active: int
    previous: int | None = None
    replicas: list[Replica] = []


class PastActivation(Record):
    """One activation, counted from 1. `by`: what caused it, an edit, "rollback", or "api" where it was asked for;
    `who`: the name of the key that it was asked for with."""

    id: int
    active: int
    previous: int
    at: datetime
    by: str
    who: str | None = None


class Dropped(Record):
    """A version whose weights were dropped, or would be, and the room that they took."""

    version: int
    bytes: int


class Pruned(Record):
    """What was dropped, or would be: the versions, ascending, and the room that they took together."""

    dropped: list[Dropped]
    bytes: int


class Model(Record):
    """The base model that is edited. What else the server tells of it is in `model_extra`."""

    name: str
    architecture: str | None = None
    digest: str | None = None
    layers: list[int] | None = None
    hyperparameters: dict[str, Any] | None = None
    methods: dict[str, dict[str, Any]] = {}
    replicas: list[Replica] = []
