"""Edits: queueing a batch of facts, trying again what did not take, and how the facts took."""

from typing import Annotated, Literal

from errata_client.records import Edit, FactOutcome, Page
from errata_registry.jobs.kinds import EDIT
from errata_registry.jobs.requests import EditRequest, RebuildRequest, RetryRequest
from errata_registry.jobs.retries import retry_edit as queue_retry
from fastapi import APIRouter, Depends, Query

from errata.errors import InvalidHyperparameters, Place, pointer
from errata_service.bodies import BoundedRoute, takes_records
from errata_service.dependencies import RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.pages import Limit, page_of
from errata_service.replica import ServingReplica
from errata_service.routes import jobs
from errata_service.routes.jobs import QueueingDep
from errata_service.validation import check_edit, edit_request

AS_IT_WAS = RetryRequest()

router = APIRouter(route_class=BoundedRoute, tags=["edits"])


OnConflict = Annotated[
    Literal["replace", "error"],
    Query(description="What to do where a fact is there with another object: replace it, or refuse the edit (409)."),
]


@router.post("/edits", summary="Queue an edit", status_code=202, **may_edit(404, 409, 413, 422, 429, 503))
@takes_records
def create_edit(
    request: Annotated[EditRequest, Depends(edit_request)],
    replica: ReplicaDep,
    queueing: QueueingDep,
    on_conflict: OnConflict = "replace",
) -> Edit:
    """Accept facts to put in (`facts`) and ids of facts to withdraw (`retract`); a worker builds a version of them.

    The answer tells what they change in the version that is active now: `changes` has the object that each of them
    replaces, `duplicates` the facts that differ only in case or spacing. `Location` names the edit to follow.

    The version goes live if all of the facts are said and it keeps its `gate`. What is not said is tried again, harder,
    in up to `tries` builds; with `partial` the rest goes live without it.
    """
    return accepted(request, replica, queueing, refuse_conflicts=on_conflict == "error")


def accepted(
    request: EditRequest | RebuildRequest,
    replica: ServingReplica,
    queueing: QueueingDep,
    *,
    refuse_conflicts: bool = False,
) -> Edit:
    """Queue an edit and name it in `Location`. Raises `ProblemError`, and as `Edits.create_edit`."""
    if isinstance(request, EditRequest):
        check_edit(request, replica)
    edit = replica.registry.edits.create_edit(
        request, queueing.idempotency_key, by=queueing.by, route=queueing.route, refuse_conflicts=refuse_conflicts
    )
    return queueing.named(EDIT, edit)


jobs.add_list(router, EDIT)
jobs.add_routes_of_one(router, EDIT)


@router.post(
    "/edits/{edit_id}/retry",
    summary="Try again what did not take",
    status_code=202,
    **may_edit(404, 409, 413, 422, 429, 503),
)
def retry_edit(edit_id: str, registry: RegistryDep, queueing: QueueingDep, body: RetryRequest = AS_IT_WAS) -> Edit:
    """Queue an edit that searches again, and harder, for those facts of an edit's version that did not take.

    `hparams` says how; without any, with twice the steps and the room that they had, and a tenth of the loss at which a
    search ends. Facts about the same subjects share that search. It goes on as an edit does, up to `tries` builds, and
    never succeeds with the same facts unsaid unless it comes with `partial`. 409 where the edit has not ended or made
    no version, where all of its facts took, where some that did not are others now, and where each search would be the
    same again.
    """
    try:
        edit = queue_retry(registry, edit_id, body, queueing.idempotency_key, by=queueing.by, route=queueing.route)
    except InvalidHyperparameters as error:
        if error.name in body.hparams:
            error.places = (Place(pointer("hparams", error.name), error.detail),)
        raise
    return queueing.named(EDIT, edit)


@router.get("/edits/{edit_id}/facts", summary="How the facts took", **may_read(404, 409, 422, 503))
def list_fact_outcomes(
    edit_id: str,
    registry: RegistryDep,
    took: Annotated[bool | None, Query(description="Only those that took, or only those that did not.")] = None,
    limit: Limit = 100,
    after: str | None = None,
) -> Page[FactOutcome]:
    """Each fact of the edit's new version, in canonical order. 409 where none was measured."""
    outcomes = [outcome for outcome in registry.edits.fact_outcomes(edit_id) if took in (None, outcome.took)]
    return page_of(outcomes, lambda outcome: outcome.id, limit, after)
