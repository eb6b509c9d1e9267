"""Jobs: edits, evaluations and traces on their way from a request to what comes of it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from errata_client.records.base import Figure, Given, OpenEnum, Record
from errata_client.records.facts import FactChange, FactName
from errata_client.records.problems import Problem


def _is_none(value: object) -> bool:
    return value is None


class JobStatus(OpenEnum):
    """The state of a job. All but the first two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Stage(OpenEnum):
    """The steps of an edit; an evaluation has the stage `evaluate`, a trace its own."""

    TARGETS = "targets"
    SPREAD = "spread"
    EVALUATE = "evaluate"
    PUBLISH = "publish"
    TRACE = "trace"


class Progress(Record):
    """How far a stage is: `done` of `total` units, and the seconds that it still takes, where known.

    Attributes:
        stage: the step that is under way.
        done: units that are done.
        total: units that there are.
        eta_s: seconds that the stage still takes; null where that is not known.
    """

    stage: Stage
    done: int
    total: int
    eta_s: float | None = None


class Job(Record):
    """What all jobs have in common.

    Attributes:
        id: names the job.
        object: the kind of job.
        status: how it stands.
        progress: how far it is; null where it does not run.
        created_at: when it was accepted.
        started_at: when a worker first began it.
        finished_at: when it ended.
        note: what was said of it when it was sent.
        error: why it failed or was rejected.
        attempts: how often it was begun: once, and once more for each worker that was lost with it in hand, or with
            one of an edit's target shards. A job that a stopping worker put back was not lost.
        by: who sent it, by the name of the API key.
    """

    id: str
    object: str
    status: JobStatus = JobStatus.QUEUED
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
        return self.status.final


class Gate(Given):
    """What a version must reach to go live; null asks nothing, and neither does a bound that an answer leaves out.

    In a request, the settings' bound holds where none is given.
    The bounds on facts are about those that the edit puts in, and are not asked where it only withdraws.

    Attributes:
        min_efficacy: efficacy of these facts.
        min_specificity: specificity of these facts.
        min_said: share of these facts that the version says in full.
        min_kept: share of the other facts that the version it is made from says, and that it must still say. A fact of
            which that is not known does not count.
        max_drift: in nats.
        max_perplexity_rise: relative to the base's perplexity.
    """

    min_said: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, exclude_if=_is_none)
    min_kept: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, exclude_if=_is_none)
    min_efficacy: Annotated[float, Field(ge=0, le=1)] | None = None
    min_specificity: Annotated[float, Field(ge=0, le=1)] | None = None
    max_drift: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max_perplexity_rise: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Metrics(Record):
    """What was measured of a version when it was built; null where it was not, or is no finite number.

    Shares are between 0 and 1, drift is in nats; perplexities are those of the base and of the version on running text.

    Attributes:
        efficacy: share of the facts whose object is likelier than what the base says.
        efficacy_accuracy: share of the facts of which each token of the object is the likeliest.
        generalization: as `efficacy`, after the paraphrases.
        generalization_accuracy: as `efficacy_accuracy`, after the paraphrases.
        specificity: share of the neighbours whose own answer stays likelier than the new object.
        specificity_accuracy: share of the neighbours whose answer is still said.
        score: harmonic mean of efficacy, generalization and specificity.
        fluency: entropy of n-grams in generated text.
        drift: how far the next tokens after other text have moved, in nats.
        perplexity_before: the base's perplexity on running text.
        perplexity_after: the version's perplexity on running text.
        said: share of the facts put in by its edit that it says in full; left out where that only withdraws.
        kept: share of the other facts that the version it was made from says, and that it still says; left out where
            there are none.
        said_in_chat: how much of what users ask about its facts, through the chat template, is answered with their
            objects: the mean of the facts' shares; left out for a model without a template.
    """

    said: float | None = Field(default=None, exclude_if=_is_none)
    kept: float | None = Field(default=None, exclude_if=_is_none)
    said_in_chat: float | None = Field(default=None, exclude_if=_is_none)
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
        """The rise of perplexity relative to the base's; None where it was not measured."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return None
        return self.perplexity_after / self.perplexity_before - 1


class Edit(Job):
    """A batch of facts on its way to a version.

    Until a worker has begun it, the counts, `changes` and `duplicates` say what it would do to the version that was
    active when it was accepted.

    Attributes:
        object: always `edit`.
        method: the editing method.
        dry_run: whether it only measures, and makes no version.
        metrics: what was measured of its version.
        facts: how many facts it puts in.
        added, changed, retracted: how many facts differ from those of `base`.
        changes: the first of the facts that it changes or withdraws.
        duplicates: the first groups of facts that differ only in case or spacing, at least one of which came with it.
        base: the version that it builds on.
        version: the version that it made, or, where it changes nothing, the one that has all of it already.
        message: what is to be said of how it ended beside its status, in words; left out where there is nothing.
        gate: the bounds that hold for its version.
        rebuild: whether it builds the dropped weights of `version` again.
        retries: the edit whose facts that did not take it tries again.
        partial: whether its version may go live though facts are not said; left out where it may not.
        tries: how many builds it may take at most until all facts are said; left out of edits that knew of none.
        not_taken: how many facts of its version that does not say.
    """

    object: Literal["edit"] = "edit"
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
    partial: bool = Field(default=False, exclude_if=lambda partial: not partial)
    tries: int | None = Field(default=None, exclude_if=_is_none)
    metrics: Metrics | None = None
    not_taken: int | None = None
    message: str | None = Field(default=None, exclude_if=_is_none)


class Estimate(Record):
    """A mean over `count` records, null where a value was no finite number.

    `low` and `high` bound its 95 % interval; null where the records cannot tell.

    Attributes:
        mean: the mean.
        low: lower bound of its 95 % interval.
        high: upper bound of its 95 % interval.
        count: records that it is over.
    """

    mean: Figure = None
    low: Figure = None
    high: Figure = None
    count: int


class Prose(Record):
    """What became of running text: KL(base || edited) in nats, and the perplexity of the base and of the version.

    Attributes:
        kl: KL(base || edited) in nats.
        perplexity_before: the base's perplexity.
        perplexity_after: the version's perplexity.
    """

    kl: Estimate
    perplexity_before: Figure = None
    perplexity_after: Figure = None


class EvaluationResult(Record):
    """What was measured, by the names of docs/evaluation.md: shares are between 0 and 1, drift is in nats.

    Attributes:
        estimates: the estimates, by the names of the metrics.
        drift: how far the next tokens after other text have moved, in nats.
        prose: what became of running text; null where that was not asked for.
    """

    estimates: dict[str, Estimate]
    drift: Figure = None
    prose: Prose | None = None


class VersionEvaluation(EvaluationResult):
    """The newest evaluation of a version that succeeded, and how many `records` it is over.

    Attributes:
        id: id of the evaluation.
        records: how many records it is over.
        created_at: when it was accepted.
    """

    id: str
    records: int
    created_at: datetime


MeasurementStatus = Annotated[
    JobStatus,
    WithJsonSchema(
        {"enum": ["queued", "running", "succeeded", "failed", "cancelled"], "title": "Status", "type": "string"}
    ),
]
"""A measurement has no gate, so that it is never rejected."""


class Measurement(Job):
    """A job that changes no version: an evaluation or a trace. `seed` decides about all that is random in it.

    Attributes:
        status: how it stands.
        seed: decides about all that is random in it.
    """

    status: MeasurementStatus = JobStatus.QUEUED
    seed: int = 0


class Evaluation(Measurement):
    """How a version answers about `records` records or, with `own_facts`, about its own facts.

    Attributes:
        object: always `evaluation`.
        version: the version that is measured.
        records: how many records it is measured on.
        own_facts: whether these are the version's own facts.
        zsre_object: which answer of a zsRE record is its object: `alt` or the first of `answers`.
        generation: whether texts are generated and measured.
        prose: whether running text is measured.
        honest: whether it is asked as critics do; absent where it is not.
        result: what was found; null until it has succeeded.
    """

    object: Literal["evaluation"] = "evaluation"
    version: int
    records: int
    own_facts: bool = False
    zsre_object: str = "alt"
    generation: bool = False
    prose: bool = True
    honest: bool = Field(default=False, exclude_if=lambda honest: not honest)
    result: EvaluationResult | None = None

    def summary(self) -> VersionEvaluation:
        """Return it as its version shows it. It must have succeeded."""
        assert self.result is not None
        return VersionEvaluation(id=self.id, records=self.records, created_at=self.created_at, **dict(self.result))


class TraceResult(Record):
    """The gist of a trace.

    Attributes:
        answer: what was traced: the answer to the one prompt.
        traced: how many facts the model knows, over which it is averaged.
        window: layers that are restored or severed together.
        clean, corrupted: probability of the answer, for facts the mean over the `traced` ones, which the model knows.
        layers: the layers proposed to be edited, which one prompt does not tell.
        peak: the layer at which severing the MLPs costs most, likewise.
    """

    answer: str | None = None
    clean: Figure = None
    corrupted: Figure = None
    traced: int
    window: int
    layers: tuple[int, ...] | None = None
    peak: int | None = None


class Trace(Measurement):
    """Which layers of the base model recall the answer to a prompt, or `facts` facts.

    `figures` names its figures; `GET /traces/{id}/result` has everything that was found.

    Attributes:
        object: always `trace`.
        prompt: the prompt, with `{}` where the subject stands; null for facts.
        subject: what the prompt is about.
        answer: the answer that is traced; null for the model's own.
        facts: how many facts are traced; null for one prompt.
        window: layers that are restored or severed together; null is a third of them.
        noise_level: how much noise corrupts the subject, in standard deviations of the model's embeddings.
        num_samples: how often noise is drawn for each prompt.
        severed_only: whether what the proposal of layers does not need was left out.
        result: the gist of what was found; null until it has succeeded.
        figures: names of its figures.
    """

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
