"""The kinds of jobs: edits, evaluations and traces. What is common to all is everywhere else in this package."""

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from errata_client.records import Edit, Evaluation, Job, Trace
from pydantic import BaseModel

from errata.errors import UnknownEdit, UnknownJob, UnknownMeasurement
from errata_registry import keys
from errata_registry.jobs.requests import EditRequest, EvaluationRequest, RebuildRequest, TraceRequest

Asked = TypeVar("Asked", bound=BaseModel)
Shown = TypeVar("Shown", bound=Job)


@dataclass(frozen=True, slots=True)
class JobKind(Generic[Asked, Shown]):
    """What one kind of jobs differs in from another.

    Attributes:
        name: `evaluation`, say; with an s, the name of its folder in the home and of its route.
        prefix: of its ids, which go on with an underscore and 24 hexadecimal digits, the time of their making first.
        request: the type of what it is asked for with, a union where there are several.
        record: how it is shown.
        unknown: what is raised where there is no job of an id.
        queue: name of the queue that it waits in.
        work: module of the worker whose function `carry_out` does what it asks for.
        blank: what a record must have where the request cannot be read.
    """

    name: str
    prefix: str
    request: Any
    record: type[Shown]
    unknown: type[UnknownJob]
    queue: str
    work: str
    blank: Mapping[str, Any]

    def is_id(self, text: str) -> bool:
        """Return True if this can be the id of such a job."""
        return re.fullmatch(rf"{self.prefix}_[0-9a-f]{{24}}", text) is not None

    def new_id(self) -> str:
        """Return an id that comes after those made before, in the order of texts."""
        return f"{self.prefix}_{time.time_ns():016x}{secrets.token_hex(4)}"

    @staticmethod
    def created_at(job_id: str) -> datetime:
        """Return when an id was made."""
        return datetime.fromtimestamp(int(job_id.rpartition("_")[2][:16], 16) / 1e9, UTC)


EDIT: JobKind[EditRequest | RebuildRequest, Edit] = JobKind(
    name="edit",
    prefix="edit",
    request=EditRequest | RebuildRequest,
    record=Edit,
    unknown=UnknownEdit,
    queue=keys.EDIT_QUEUE,
    work="errata_worker.edit",
    blank={"facts": 0},
)
EVALUATION: JobKind[EvaluationRequest, Evaluation] = JobKind(
    name="evaluation",
    prefix="eval",
    request=EvaluationRequest,
    record=Evaluation,
    unknown=UnknownMeasurement,
    queue=keys.MEASUREMENT_QUEUE,
    work="errata_worker.evaluation",
    blank={"version": 0, "records": 0},
)
TRACE: JobKind[TraceRequest, Trace] = JobKind(
    name="trace",
    prefix="trace",
    request=TraceRequest,
    record=Trace,
    unknown=UnknownMeasurement,
    queue=keys.MEASUREMENT_QUEUE,
    work="errata_worker.trace",
    blank={"noise_level": 0.0, "num_samples": 0},
)
KINDS: tuple[JobKind[Any, Any], ...] = (EDIT, EVALUATION, TRACE)


def kind_of(job_id: str) -> JobKind[Any, Any] | None:
    """Return the kind of the job with this id, None where it can be no job's id."""
    return next((kind for kind in KINDS if kind.is_id(job_id)), None)
