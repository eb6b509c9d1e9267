"""The kinds of measurements: evaluations and traces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from errata_registry import keys
from errata_registry.jobs.measurement_records import (
    Evaluation,
    EvaluationRequest,
    Measurement,
    MeasurementRequest,
    Trace,
    TraceRequest,
)

Asked = TypeVar("Asked", bound=MeasurementRequest)
Measured = TypeVar("Measured", bound=Measurement)


@dataclass(frozen=True, slots=True)
class MeasurementKind(Generic[Asked, Measured]):
    """What one kind differs in from another.

    Attributes:
        name: `evaluation`; with an s, the name of its folder in the home and of its route.
        prefix: of its ids, which go on with an underscore and 24 hexadecimal digits, their time first.
        job: dotted name of the function that a worker runs.
        request: what it is asked for with.
        record: how it is shown.
    """

    name: str
    prefix: str
    job: str
    request: type[Asked]
    record: type[Measured]

    def is_id(self, text: str) -> bool:
        """Whether it can be the id of such a measurement."""
        return re.fullmatch(rf"{self.prefix}_[0-9a-f]{{24}}", text) is not None


EVALUATIONS = MeasurementKind("evaluation", "eval", keys.EVALUATION_JOB, EvaluationRequest, Evaluation)
TRACES = MeasurementKind("trace", "trace", keys.TRACE_JOB, TraceRequest, Trace)
