"""Edits: queueing a batch of facts, following it to its end, stopping it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from errata_registry.jobs.retries import retry_edit
from errata_registry.records import (
    Edit,
    EditRequest,
    EditStatus,
    FactBody,
    FactOutcome,
    ProblemItem,
    RebuildRequest,
    RetryRequest,
)
from errata_registry.versions.change import places_of
from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import SkipValidation, ValidationError
from pydantic_core import ErrorDetails

from errata.errors import FactConflict, FactProblem, InvalidFacts, InvalidHyperparameters, UnknownFacts
from errata.facts import MAX_FACTS, Fact, find_problems
from errata.hyperparameters import Hyperparameters, TargetHyperparameters, unknown_to
from errata.model.room import find_overlong
from errata.targets.contexts import ROOM_FOR_CONTEXT
from errata_service.dependencies import CallerDep, RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.pages import Limit, Page, page_of, shown
from errata_service.problems import NotReady, ProblemError, pointer, problem_responses
from errata_service.replica import ServingReplica
from errata_service.waiting import LOOK_S, Wait, ended

AS_IT_WAS = RetryRequest()

router = APIRouter(tags=["edits"])


_EXAMPLE = {
    "facts": [
        {
            "subject": "Michael Jordan",
            "relation": "plays the sport of",
            "object": "baseball",
            "paraphrases": ["What sport does Michael Jordan play? He plays"],
            "neighbors": [{"prompt": "Kobe Bryant plays the sport of", "object": "basketball"}],
        }
    ],
    "note": "he changed sports",
}
PostedEdit = Annotated[
    EditRequest,
    SkipValidation,
    Body(openapi_examples={"one fact": {"summary": "One fact, with prompts that measure it", "value": _EXAMPLE}}),
]


def _validated(posted: PostedEdit) -> EditRequest:
    """The request, or all that is wrong with it: facts of a wrong shape and facts that cannot be edited in.

    Not left to FastAPI, which would check ten thousand facts on the event loop, where nothing else is done meanwhile.
    """
    facts = posted.get("facts") if isinstance(posted, dict) else None
    if isinstance(facts, list) and len(facts) > MAX_FACTS:  # counted first: pydantic would look at all of them
        message = f"at most {MAX_FACTS} facts are taken at once, got {len(facts)}"
        raise RequestValidationError([{"type": "too_long", "loc": ("body", "facts"), "msg": message}])
    faults: list[dict[str, Any]] = []
    request = None
    try:
        request = EditRequest.model_validate(posted, from_attributes=True)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            faults.append({**item, "loc": ("body", *_place(item))})
    for problem in _fact_problems(posted):
        loc = ("body", "facts", problem.index, problem.field)
        faults.append({"type": "fact", "loc": loc, "msg": problem.detail})
    if request is None or faults:
        raise RequestValidationError(faults)
    return request


def _place(fault: ErrorDetails) -> tuple[str | int, ...]:
    """Where it is; what is wrong with an edit as a whole has no place of its own."""
    match fault["type"]:
        case "nothing":
            return ("facts",)
        case "put_in":
            return ("retract", fault["ctx"]["index"])
    return fault["loc"]


def _fact_problems(body: Any) -> list[FactProblem]:
    posted = body.get("facts") if isinstance(body, dict) else None
    if not isinstance(posted, list):
        return []
    return list(find_problems([_fact_or_stand_in(index, fact) for index, fact in enumerate(posted)]))


def _fact_or_stand_in(index: int, posted: Any) -> Fact:
    """The fact, or one without fault in its place where it is malformed, so that the others keep their numbers."""
    try:
        return FactBody.model_validate(posted).to_fact()
    except ValidationError:
        return Fact(f"malformed fact {index}", "is", "malformed")


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key and body give the same edit for 24 hours.",
    ),
]


OnConflict = Annotated[
    Literal["replace", "error"],
    Query(description="What to do where a fact is there with another object: replace it, or refuse the edit (409)."),
]


@router.post(
    "/edits",
    summary="Queue an edit",
    status_code=202,
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
def create_edit(
    request: Annotated[EditRequest, Depends(_validated)],
    response: Response,
    replica: ReplicaDep,
    by: CallerDep,
    on_conflict: OnConflict = "replace",
    idempotency_key: IdempotencyKey = None,
) -> Edit:
    """Accept facts to put in (`facts`) and ids of facts to withdraw (`retract`); a worker builds a version of them.

    The answer tells what they change in the version that is active now: `changes` has the object that each of them
    replaces, `duplicates` the facts that differ only in case or spacing. `Location` names the edit to follow.
    """
    _check_lengths(request, replica)
    return accepted(request, replica, response, by, idempotency_key, refuse_conflicts=on_conflict == "error")


def accepted(
    request: EditRequest | RebuildRequest,
    replica: ServingReplica,
    response: Response,
    by: str | None,
    idempotency_key: str | None,
    *,
    refuse_conflicts: bool = False,
    ids_at: str = "retract",
) -> Edit:
    """The edit, queued; `ids_at` is the field of its body with the ids of facts to withdraw.

    Raises `ProblemError`, which points at the facts at fault, and as `Registry.create_edit`.
    """
    if isinstance(request, EditRequest):
        _check_hyperparameters(request, replica)
    try:
        edit, _ = replica.registry.create_edit(request, idempotency_key, by=by, refuse_conflicts=refuse_conflicts)
    except (FactConflict, UnknownFacts) as error:
        assert isinstance(request, EditRequest)
        status, kind = (409, "fact-conflict") if isinstance(error, FactConflict) else (404, "unknown-facts")
        raise ProblemError(status, kind, str(error), at=places_of(error, request, ids_at)) from error
    except InvalidFacts as error:
        raise _too_many(error) from error
    response.headers["Location"] = f"/edits/{edit.id}"
    return edit


def _too_many(error: InvalidFacts) -> ProblemError:
    """Each fact was looked at before: only how many there would be can be wrong."""
    return ProblemError(422, "too-many-facts", str(error))


@router.get(
    "/edits",
    summary="The edits, newest first",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 422, 503),
)
def list_edits(registry: RegistryDep, limit: Limit = 20, after: str | None = None) -> Page[Edit]:
    """`after` takes the id of an edit and gives the older ones."""
    return shown(registry.edits(limit, after))


@router.get(
    "/edits/{edit_id}",
    summary="One edit",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 422, 503),
)
async def get_edit(
    edit_id: str,
    replica: ReplicaDep,
    wait: Wait = 0,
) -> Edit:
    """How it stands; with `wait`, once it has ended or the time is over."""
    return await ended(lambda: replica.registry.edit(edit_id), wait, replica)


@router.post(
    "/edits/{edit_id}/retry",
    summary="Try again what did not take",
    status_code=202,
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
def retry(
    edit_id: str,
    response: Response,
    registry: RegistryDep,
    by: CallerDep,
    body: RetryRequest = AS_IT_WAS,
    idempotency_key: IdempotencyKey = None,
) -> Edit:
    """Queue an edit that searches again, and harder, for those facts of an edit's version that did not take.

    `hparams` says how; without any, with twice the steps and the room that they had, and a tenth of the loss at which a
    search ends. Facts about the same subjects share that search. 409 where the edit has not ended or made no version,
    where all of its facts took, where some that did not are others now, and where each search would be the same again.
    """
    try:
        edit = retry_edit(registry, edit_id, body, idempotency_key, by=by)
    except InvalidHyperparameters as error:
        at = [ProblemItem(pointer=pointer("hparams", error.name), detail=error.detail)]
        at = at if error.name in body.hparams else []
        raise ProblemError(422, "invalid-hyperparameters", str(error), at=at) from error
    except InvalidFacts as error:
        raise _too_many(error) from error
    response.headers["Location"] = f"/edits/{edit.id}"
    return edit


@router.get(
    "/edits/{edit_id}/facts",
    summary="How the facts took",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 409, 422, 503),
)
def list_fact_outcomes(
    edit_id: str,
    registry: RegistryDep,
    took: Annotated[bool | None, Query(description="Only those that took, or only those that did not.")] = None,
    limit: Limit = 100,
    after: str | None = None,
) -> Page[FactOutcome]:
    """Each fact of the edit's new version, in canonical order. 409 where none was measured."""
    outcomes = [outcome for outcome in registry.fact_outcomes(edit_id) if took in (None, outcome.took)]
    return page_of(outcomes, lambda outcome: outcome.id, limit, after)


@router.post(
    "/edits/{edit_id}/cancel",
    summary="Cancel an edit",
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 503),
)
def cancel_edit(edit_id: str, registry: RegistryDep) -> Edit:
    """One that is queued ends at once, one that runs at its next step. 409 where it has ended otherwise."""
    return registry.request_cancel(edit_id)


def _known_edit(edit_id: str, registry: RegistryDep) -> str:
    return registry.edit(edit_id).id


@router.get(
    "/edits/{edit_id}/events",
    summary="Follow an edit",
    response_class=EventSourceResponse,
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 422, 503),
)
async def follow_edit(
    edit_id: Annotated[str, Depends(_known_edit)],
    replica: ReplicaDep,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d+(-\d+)?$")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress`, `log` and `status`. The last one is a `status` that is final.

    `Last-Event-ID` resumes behind an event; without it, all that has happened is told.
    """
    registry, after = replica.registry, last_event_id or "0"
    while not replica.stopping.is_set():
        edit = await run_in_threadpool(registry.edit, edit_id)
        news = await run_in_threadpool(registry.events, edit_id, after)
        for event in news:
            yield ServerSentEvent(data=event.data, event=event.name, id=event.id)
            if event.name == "status" and EditStatus(event.data["status"]).final:
                return
            after = event.id
        if edit.status.final and not news:
            # The client has seen it all before, or the end is recorded and its event is not out yet.
            yield ServerSentEvent(data=edit, event="status")
            return
        await asyncio.sleep(LOOK_S)


def _check_hyperparameters(request: EditRequest, replica: ServingReplica) -> None:
    """Refuse what the worker would refuse, before it is queued."""
    if not replica.hyperparameters:
        return
    defaults = replica.hyperparameters.get(request.method)
    if defaults is None:
        detail = unknown_to(request.method, replica.hyperparameters)
        place = ProblemItem(pointer=pointer("method"), detail=detail)
        raise ProblemError(422, "invalid-hyperparameters", f"method: {detail}", at=[place])
    _check_searches(request, defaults)
    try:
        wanted = defaults.overridden(request.hparams)
        if wanted.layers != defaults.layers:
            replica.engine.model.require_editable(wanted.layers)
    except InvalidHyperparameters as error:
        place = ProblemItem(pointer=pointer("hparams", error.name), detail=error.detail)
        raise ProblemError(422, "invalid-hyperparameters", str(error), at=[place]) from error


def _check_searches(request: EditRequest, defaults: Hyperparameters) -> None:
    """Refuse hyperparameters of a fact's own search, each fact by its place."""
    places = []
    for index, body in enumerate(request.facts):
        if not body.search:
            continue
        if not isinstance(defaults, TargetHyperparameters):
            detail = f"is of no use to {request.method}, which searches for no targets"
            places.append(ProblemItem(pointer=pointer("facts", index, "search"), detail=detail))
            continue
        try:
            defaults.for_search(body.search)
        except InvalidHyperparameters as error:
            place = pointer("facts", index, "search", error.name)
            places.append(ProblemItem(pointer=place, detail=error.detail))
    if places:
        detail = f"{places[0].pointer}: {places[0].detail}"
        raise ProblemError(422, "invalid-hyperparameters", detail, at=places)


def _check_lengths(request: EditRequest, replica: ServingReplica) -> None:
    """Refuse prompts that do not fit into the model's context, each by its place."""
    try:
        model = replica.engine.model
    except NotReady:  # an edit is taken while the model is being loaded; the worker looks at its lengths, too
        return
    facts = [body.to_fact() for body in request.facts]
    places = [
        ProblemItem(pointer=pointer("facts", problem.index, problem.field), detail=problem.detail)
        for problem in find_overlong(model, facts, ROOM_FOR_CONTEXT)
    ]
    if places:
        raise ProblemError(422, "too-long", "some prompts do not fit into the model's context", at=places)
