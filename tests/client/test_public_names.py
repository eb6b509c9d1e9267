"""What the package offers: its names, and two clients that offer the same."""

import inspect

import errata_client
from errata_client import AsyncErrata, AsyncEvaluations, AsyncTraces, Errata, Evaluations, Traces


def test_the_public_names_are_these() -> None:
    assert errata_client.__all__ == sorted(errata_client.__all__)
    assert set(errata_client.__all__) == {
        *("Errata", "AsyncErrata", "Edit", "AsyncEdit", "Fact", "FactInput", "Neighbor"),
        *("read_facts", "facts_of_records"),
        *("FactReference", "FactRecord", "FactChange", "FactEvent", "FactName", "ChangeKind", "Diff", "OnConflict"),
        *("FactOutcome", "Gate", "Miss", "MissedPrompt", "Probe", "ProbeInput", "ProbesPut", "read_probes"),
        *("PastActivation", "Dropped", "Pruned", "ExportFormat"),
        *("Event", "ProgressEvent", "LogEvent", "StatusEvent"),
        *("EditRecord", "EditStatus", "Progress", "Metrics", "Version", "VersionStatus", "LayerChange"),
        *("StoredFact", "StoredNeighbor", "Generation", "Completion", "Usage", "Activation", "Replica"),
        *("GenerationSettings", "GenerationEvent", "GeneratedToken", "GenerationEnd"),
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
    }
    for name in errata_client.__all__:
        assert hasattr(errata_client, name)


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(client: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(method).parameters.values())
            for name, method in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_") or (name == "__init__" and client in (Errata, AsyncErrata))
        }

    for one, other in ((Errata, AsyncErrata), (Evaluations, AsyncEvaluations), (Traces, AsyncTraces)):
        assert methods(one) == methods(other)
