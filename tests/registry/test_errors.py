"""One fault is told alike wherever it shows: in the answer to a request and in the outcome of a job."""

from collections.abc import Iterator
from typing import Any

import pytest
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_service.problems import answer_with_problems
from errata_worker.running import ending_with_what_goes_wrong
from fastapi import FastAPI
from fastapi.testclient import TestClient

from errata.errors import Cancelled, ErrataError, FactConflict, FactProblem, InvalidFacts, Place, UnknownFacts

PLACES = (Place("/facts/0/object", "is another one"),)

EXPECTED = {
    "ArtifactError": (409, "artifact-error"),
    "Conflict": (409, "conflict"),
    "CorruptArtifact": (409, "corrupt-artifact"),
    "DataSetError": (422, "invalid-data-set"),
    "ErrataError": (500, "failed"),
    "FactConflict": (409, "fact-conflict"),
    "ProtectedAlias": (409, "protected-alias"),
    "IdempotencyMismatch": (422, "idempotency-mismatch"),
    "InvalidFacts": (422, "invalid-facts"),
    "InvalidHyperparameters": (422, "invalid-hyperparameters"),
    "InvalidRecords": (422, "invalid-records"),
    "ModelError": (409, "model-error"),
    "NewerHome": (409, "newer-home"),
    "NotServable": (409, "not-servable"),
    "NotFinite": (500, "not-finite"),
    "DeviceFailed": (500, "device-failed"),
    "OutOfMemory": (500, "out-of-memory"),
    "QueueFull": (429, "queue-full"),
    "StatisticsError": (409, "statistics-error"),
    "TimedOut": (500, "timed-out"),
    "TooLong": (422, "too-long"),
    "TooManyFacts": (422, "too-many-facts"),
    "TracingError": (422, "invalid-trace"),
    "UnknownAlias": (404, "unknown-alias"),
    "UnknownEdit": (404, "unknown-edit"),
    "UnknownFacts": (404, "unknown-facts"),
    "UnknownJob": (404, "unknown-job"),
    "UnknownMeasurement": (404, "unknown-measurement"),
    "UnknownVersion": (404, "unknown-version"),
    "UnsupportedArchitecture": (409, "model-error"),
    "WeightsDropped": (409, "weights-dropped"),
    "WorkerDied": (500, "worker-died"),
    "WrongBaseModel": (409, "wrong-base-model"),
}


def all_errors(of: type[ErrataError] = ErrataError) -> Iterator[type[ErrataError]]:
    """The whole tree of the library's errors."""
    if of.__module__ == "errata.errors":
        yield of
    for kind in of.__subclasses__():
        yield from all_errors(kind)


def example_of(kind: type[ErrataError]) -> ErrataError:
    if issubclass(kind, InvalidFacts):
        return kind([FactProblem(0, "subject", "is empty")])
    arguments: dict[str, tuple[Any, ...]] = {
        "InvalidHyperparameters": ("clamp", "is unknown"),
        "UnknownFacts": (["fact_1"], 3, PLACES),
        "FactConflict": (PLACES,),
    }
    return kind(*arguments.get(kind.__name__, ("in words",)))


def test_the_table_has_every_error() -> None:
    assert {kind.__name__ for kind in all_errors()} - {Cancelled.__name__} == EXPECTED.keys()


@pytest.mark.parametrize("kind", sorted(set(all_errors()) - {Cancelled}, key=str))
def test_an_answer_and_an_outcome_tell_of_an_error_alike(
    kind: type[ErrataError], registry: Registry, request_body: EditRequest
) -> None:
    error = example_of(kind)
    app = FastAPI()
    answer_with_problems(app)

    @app.get("/fails")
    def fails() -> None:
        raise error

    edit = registry.edits.create_edit(request_body)
    with ending_with_what_goes_wrong(registry.edits, edit.id, limit_s=1, is_device_lost=lambda: False):
        raise error
    outcome = registry.edits.record(edit.id).error
    answer = TestClient(app, raise_server_exceptions=False).get("/fails")

    assert outcome is not None
    status, name = EXPECTED[kind.__name__]
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:errata:problem:{name}")
    told = outcome.model_dump(mode="json", exclude=set() if outcome.errors else {"errors"})
    assert answer.json() == {key: value for key, value in told.items() if key != "misses"}
    if kind in (FactConflict, UnknownFacts):
        assert [place.pointer for place in outcome.errors] == ["/facts/0/object"]
