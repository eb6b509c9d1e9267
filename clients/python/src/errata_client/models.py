"""What the service answers, as typed records.

Records are frozen. A field that a newer server adds is kept (`record.model_extra`), never an error.
"""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

EditStatus = Literal["queued", "running", "succeeded", "rejected", "failed", "cancelled"]
VersionStatus = Literal["ready", "active", "rejected"]


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


class Problem(Record):
    """A problem document (RFC 9457): why the service refused or failed."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] = []


class Progress(Record):
    """How far a stage is: `done` of `total` units, and the seconds that remain where they are known."""

    stage: str
    done: int
    total: int
    eta_s: float | None = None


class Metrics(Record):
    """What was measured of a version, null where it was not. Shares are from 0 to 1, drift is in nats."""

    efficacy: float | None = None
    efficacy_accuracy: float | None = None
    generalization: float | None = None
    generalization_accuracy: float | None = None
    specificity: float | None = None
    specificity_accuracy: float | None = None
    score: float | None = None
    fluency: float | None = None
    drift: float | None = None


class EditRecord(Record):
    """One edit batch on its way from the request to a version."""

    id: str
    object: str = "edit"
    status: EditStatus
    facts: int
    added: int | None = None
    changed: int | None = None
    retracted: int | None = None
    base: int | None = None
    version: int | None = None
    method: str | None = None
    dry_run: bool = False
    progress: Progress | None = None
    metrics: Metrics | None = None
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


class LayerChange(Record):
    """The size of one layer's update: Frobenius norm, and that over the norm of the base weight."""

    layer: int
    rank: int
    norm: float
    relative_norm: float


class Version(Record):
    """A set of facts and the weights built from it. Version 0 is the base model."""

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
    hparams: dict[str, Any] | None = None
    layers: list[LayerChange] = []
    bytes: int | None = None
    digest: str | None = None
    created_at: datetime | None = None
    note: str | None = None


class StoredNeighbor(Record):
    """A prompt about another subject, and the answer that must stay."""

    prompt: str
    object: str


class StoredFact(Record):
    """A fact as a version holds it."""

    id: str | None = None
    subject: str
    relation: str
    object: str
    paraphrases: list[str] = []
    neighbors: list[StoredNeighbor] = []
    edit: str | None = None

    def matches(self, subject: str | None, relation: str | None) -> bool:
        """Whether it has this subject and this relation; None is any."""
        return subject in (None, self.subject) and relation in (None, self.relation)


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


class Activation(Record):
    """The version that serves now, the one that served before, and who serves it."""

    active: int
    previous: int | None = None
    replicas: list[Replica] = []


class Model(Record):
    """The base model that is edited. What else the server tells of it is in `model_extra`."""

    name: str
    architecture: str | None = None
    digest: str | None = None
    layers: list[int] | None = None
    hyperparameters: dict[str, Any] | None = None
    replicas: list[Replica] = []
