"""Evaluations and traces as they are asked for, kept and shown: measurements, which change no version."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from errata.facts import MAX_FACTS, MAX_PART_CHARACTERS
from errata_registry.records import (
    NUMBERS_END,
    EditStatus,
    EvaluationResult,
    FactBody,
    Figure,
    Problem,
    Progress,
    Text,
    VersionEvaluation,
    VersionNumber,
)

if TYPE_CHECKING:
    from errata.evaluation.records import Record, References

MeasurementStatus = Literal[
    EditStatus.QUEUED, EditStatus.RUNNING, EditStatus.SUCCEEDED, EditStatus.FAILED, EditStatus.CANCELLED
]

Seed = Annotated[int, Field(ge=0, lt=NUMBERS_END)]
Note = Annotated[Text, Field(max_length=2000)]


class MeasurementRequest(BaseModel):
    """What may be asked of any measurement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Seed = 0
    note: Note | None = None


class EvaluationRequest(MeasurementRequest):
    """The body of `POST /evaluations`.

    `version` null: the one that is active when this is accepted. `records` null: the facts of the version themselves,
    with their paraphrases and neighbours; else CounterFact's or zsRE's, which `errata.evaluation.read_records` reads.
    `references`: the entries of CounterFact's `attribute_snippets.json`, for consistency.
    """

    version: VersionNumber | None = None
    records: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MAX_FACTS)] | None = None
    references: tuple[Any, ...] | None = None
    zsre_object: Literal["alt", "answers"] = "alt"
    generation: bool = False
    prose: bool = True

    @model_validator(mode="after")
    def _references_have_a_use(self) -> Self:
        if self.references is not None and (self.records is None or not self.generation):
            raise PydanticCustomError("no_use", "are of use with `records` and `generation` only")
        return self

    def read_references(self) -> References | None:
        """Raises `InvalidFacts`, naming the entries of `references` that are wrong."""
        from errata.evaluation import reference_texts  # torch is needed for nothing else here

        return None if self.references is None else reference_texts(self.references)

    def read_records(self) -> list[Record]:
        """Raises `InvalidFacts`, naming the `records` that are wrong, of which there must be some."""
        from errata.evaluation import read_records

        assert self.records is not None
        return read_records(self.records, zsre_object=self.zsre_object, references=self.read_references())


class TraceRequest(MeasurementRequest):
    """The body of `POST /traces`: one prompt about a subject, or facts that the model should know.

    `prompt` holds `{}` where the subject stands; `answer` null: what the model itself says. The rest is named as in
    `errata.tracing`; `window` null is a third of the layers. `severed_only` leaves out what the proposal of layers does
    not need.
    """

    prompt: Annotated[Text, Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS)] | None = None
    subject: Annotated[Text, Field(min_length=1, max_length=MAX_PART_CHARACTERS)] | None = None
    answer: Annotated[Text, Field(min_length=1, max_length=MAX_PART_CHARACTERS)] | None = None
    facts: Annotated[tuple[FactBody, ...], Field(min_length=1, max_length=MAX_FACTS)] | None = None
    window: Annotated[int, Field(ge=1, lt=NUMBERS_END)] | None = None
    noise_level: Annotated[float, Field(gt=0, le=1000)] = 3.0
    num_samples: Annotated[int, Field(ge=1, le=1000)] = 10
    severed_only: bool = False

    @model_validator(mode="after")
    def _prompt_or_facts(self) -> Self:
        if self.facts is not None:
            if (self.prompt, self.subject, self.answer) != (None, None, None):
                raise PydanticCustomError("both", "give either one prompt (`prompt`, `subject`) or `facts`")
        elif self.prompt is None or self.subject is None:
            raise PydanticCustomError("neither", "give one prompt (`prompt`, `subject`) or `facts`")
        elif self.severed_only:
            raise PydanticCustomError("severed_only", "`severed_only` goes with `facts`")
        return self


class Measurement(BaseModel):
    """A measurement on its way from request to result. `attempts` counts as for an edit."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    status: MeasurementStatus = EditStatus.QUEUED
    seed: int
    progress: Progress | None = None
    error: Problem | None = None
    attempts: int = 0
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    by: str | None = None
    note: str | None = None

    @property
    def of_version(self) -> int | None:
        """The version that is measured; None where it is the base model that is traced."""
        return None


class Evaluation(Measurement):
    """How a version answers about `records`, or, with `own_facts`, about its facts; `result` once it has succeeded."""

    object: Literal["evaluation"] = "evaluation"
    version: int
    records: int
    own_facts: bool
    zsre_object: str = "alt"
    generation: bool = False
    prose: bool = True
    result: EvaluationResult | None = None

    @property
    def of_version(self) -> int:
        return self.version

    def summary(self) -> VersionEvaluation:
        """As its version shows it. It must have succeeded."""
        assert self.result is not None
        return VersionEvaluation(id=self.id, records=self.records, created_at=self.created_at, **dict(self.result))


class TraceResult(BaseModel):
    """The gist of a trace. `clean` and `corrupted` are probabilities of the answer, for facts their means over the
    `traced` ones, those that the model knows; `layers` are those proposed to be edited, and `peak` where severing the
    MLPs costs most, which one prompt does not tell."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    answer: str | None = None
    clean: Figure
    corrupted: Figure
    traced: int
    window: int
    layers: tuple[int, ...] | None = None
    peak: int | None = None


class Trace(Measurement):
    """Which layers of the base model recall the answer to a prompt, or `facts` of them. Once it has succeeded, `result`
    has the gist, `figures` the names of its figures, and `GET /traces/{id}/result` everything."""

    object: Literal["trace"] = "trace"
    prompt: str | None = None
    subject: str | None = None
    answer: str | None = None
    facts: int | None = None
    window: int | None = None
    noise_level: float
    num_samples: int
    severed_only: bool = False
    result: TraceResult | None = None
    figures: tuple[str, ...] = ()
