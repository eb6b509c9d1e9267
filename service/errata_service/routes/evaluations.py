"""Evaluations: measuring a version on records or on its own facts, and what was found."""

from typing import Annotated

from errata_client.records import Evaluation, JobStatus, Page
from errata_registry.jobs.folder import body_sha256
from errata_registry.jobs.kinds import EVALUATION
from errata_registry.versions.names import VersionName
from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse

from errata.errors import Conflict, InvalidRecords, Place
from errata_service.bodies import BoundedRoute, takes_records
from errata_service.dependencies import RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.pages import Limit
from errata_service.problems import ProblemError
from errata_service.routes import jobs
from errata_service.routes.jobs import QueueingDep
from errata_service.validation import AskedEvaluation, check_evaluation, evaluation_request

NDJSON = "application/x-ndjson"

router = APIRouter(route_class=BoundedRoute, tags=["evaluations"])


@router.post("/evaluations", summary="Queue an evaluation", status_code=202, **may_edit(404, 409, 413, 422, 429, 503))
@takes_records
def create_evaluation(
    asked: Annotated[AskedEvaluation, Depends(evaluation_request)], replica: ReplicaDep, queueing: QueueingDep
) -> Evaluation:
    """A worker measures the version when there is nothing to edit. `Location` names the evaluation to follow."""
    request, registry = asked.request, replica.registry
    sha256 = body_sha256(request)
    if known := registry.evaluations.of_key(queueing.idempotency_key, queueing.by, sha256, queueing.route):
        return queueing.named(EVALUATION, known)  # whatever became of its version since
    version = registry.versions.number(request.version)
    registry.versions.require_weights(version)
    check_evaluation(asked, replica)
    count = len(registry.versions.facts(version)) if request.records is None else len(request.records)
    if not count:
        detail = f"version {version} has no facts of its own to be measured on: give records"
        raise ProblemError.of(InvalidRecords, detail, [Place("/records", detail)])
    shown = {
        **request.model_dump(include={"zsre_object", "generation", "prose", "honest", "seed", "note"}),
        "version": version,
        "records": count,
        "own_facts": request.records is None,
    }
    evaluation = registry.evaluations.create(
        request, shown, queueing.idempotency_key, by=queueing.by, route=queueing.route
    )
    return queueing.named(EVALUATION, evaluation)


@router.get("/evaluations", summary="The evaluations, newest first", **may_read(404, 409, 422, 503))
def list_evaluations(
    registry: RegistryDep,
    limit: Limit = 20,
    after: str | None = None,
    version: Annotated[VersionName | None, Query(description="Only those of this version.")] = None,
) -> Page[Evaluation]:
    """`after` takes the id of an evaluation and gives the older ones."""
    number = None if version is None else registry.versions.number(version)
    return registry.evaluations.page(limit, after, number)


jobs.add_routes_of_one(router, EVALUATION)


@router.get(
    "/evaluations/{evaluation_id}/cases",
    summary="What was measured of each record",
    response_class=FileResponse,
    **may_read(404, 409, 503, sends=("A line of JSON for each record, in their order", NDJSON)),
)
def list_evaluation_cases(evaluation_id: str, registry: RegistryDep) -> FileResponse:
    """Its metrics, every prompt's figures and its generated texts. 409 until the evaluation has succeeded."""
    evaluations = registry.evaluations
    if (status := evaluations.record(evaluation_id).status) is not JobStatus.SUCCEEDED:
        raise Conflict(f"{evaluation_id} is {status}: there are no cases")
    return FileResponse(evaluations.folder.file(evaluation_id, "cases.jsonl"), media_type=NDJSON)
