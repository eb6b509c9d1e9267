"""What the package offers: its names, and two clients that offer the same."""

import inspect

import errata_client
import pytest
from errata_client import (
    AsyncEdit,
    AsyncErrata,
    AsyncEvaluationJob,
    AsyncEvaluations,
    AsyncTraceJob,
    AsyncTraces,
    Edit,
    EditRecord,
    EditStatus,
    Errata,
    EvaluationJob,
    Evaluations,
    JobStatus,
    TraceJob,
    Traces,
    public_names,
    records,
)
from errata_client.operations import Asynchronous, Blocking, iteration, operation, transition

BOTH = [
    (Errata, AsyncErrata),
    (Evaluations, AsyncEvaluations),
    (Traces, AsyncTraces),
    (Edit, AsyncEdit),
    (EvaluationJob, AsyncEvaluationJob),
    (TraceJob, AsyncTraceJob),
]


def test_the_public_names_are_these() -> None:
    public = {
        name for name, value in vars(public_names).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public < {*dir(errata_client)} and errata_client.Fact is public_names.Fact
    assert public == {
        *("Errata", "AsyncErrata", "Edit", "AsyncEdit", "Fact", "FactInput", "Neighbor"),
        *("read_facts", "facts_of_records"),
        *("FactReference", "FactRecord", "FactChange", "FactEvent", "FactName", "ChangeKind", "Diff", "OnConflict"),
        *("FactOutcome", "Gate", "Miss", "MissedPrompt", "Probe", "ProbeInput", "ProbesPut", "read_probes"),
        *("PastActivation", "Alias", "Protection", "Dropped", "Pruned", "ExportFormat", "Ready", "VersionName"),
        *("Event", "ProgressEvent", "LogEvent", "StatusEvent"),
        *("EditRecord", "EditStatus", "Progress", "Metrics", "Version", "VersionStatus", "LayerChange"),
        *("StoredFact", "StoredNeighbor", "Generation", "Completion", "Usage", "Activation", "Replica"),
        *("GenerationSettings", "GenerationEvent", "GeneratedToken", "GenerationEnd", "Message", "MessageInput"),
        *("CheckedFact", "CheckedFacts", "KeyScopes", "Worker", "Workforce"),
        *("Model", "Problem", "FieldProblem", "FactProblem"),
        *("ErrataError", "InvalidFacts", "ConnectionFailed", "RequestTimedOut", "UnexpectedAnswer"),
        *("StatusError", "Unauthorized", "Forbidden", "NotFound", "Conflict", "Unprocessable"),
        *("TooManyRequests", "ServerError", "Unavailable"),
        *("EditError", "EditFailed", "EditRejected", "EditCancelled", "WaitTimedOut"),
        *("Evaluations", "AsyncEvaluations", "Traces", "AsyncTraces", "ZsreObject"),
        *(
            "Measurement",
            "MeasurementStatus",
            "Evaluation",
            "EvaluationResult",
            "Estimate",
            "Prose",
            "VersionEvaluation",
        ),
        *("Trace", "TraceResult", "MeasurementError", "MeasurementFailed", "MeasurementCancelled"),
        *("Job", "JobStatus", "JobError", "EditOptions"),
        *("EvaluationJob", "AsyncEvaluationJob", "TraceJob", "AsyncTraceJob"),
    }


def test_the_records_are_those_of_the_wire_under_the_names_that_they_had() -> None:
    assert EditRecord is records.Edit and EditStatus is JobStatus
    assert issubclass(Edit, EditRecord) and issubclass(AsyncTraceJob, errata_client.Trace)


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(client: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(method).parameters.values())
            for name, method in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_") or (name == "__init__" and client in (Errata, AsyncErrata))
        }

    for one, other in BOTH:
        assert methods(one) == methods(other)


@pytest.mark.parametrize(("blocking", "asynchronous"), BOTH, ids=lambda face: face.__name__)
def test_every_operation_is_there_for_blocking_callers_and_for_asyncio(blocking: type, asynchronous: type) -> None:
    assert issubclass(blocking, Blocking) and issubclass(asynchronous, Asynchronous)
    written = {
        name: found
        for parent in blocking.__mro__
        for name, found in vars(parent).items()
        if isinstance(found, operation | transition | iteration)
    }
    assert {"wait", "cancel", "events"} <= written.keys() or {"close", "cancel", "events"} <= written.keys()
    for name, found in written.items():
        assert inspect.getdoc(getattr(blocking, name)), f"{name} has no docstring"
        assert not inspect.iscoroutinefunction(getattr(blocking, name))
        assert inspect.iscoroutinefunction(getattr(asynchronous, name)) is not isinstance(found, iteration)
