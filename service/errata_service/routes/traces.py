"""Traces: which layers of the base model recall an answer, and what was found, with figures."""

from __future__ import annotations

from typing import Annotated

from errata_registry.jobs.measurement_files import TRACED
from errata_registry.jobs.measurement_records import Trace, TraceRequest
from errata_registry.records import EditStatus, ProblemItem
from errata_registry.registry import Registry
from fastapi import APIRouter, Body, Depends, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import SkipValidation, ValidationError

from errata.errors import TracingError
from errata.facts import find_problems
from errata.model.room import find_overlong
from errata.tracing.prompts import TracedPrompt
from errata_service.dependencies import CallerDep, RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.pages import Limit, Page, shown
from errata_service.problems import NotReady, ProblemError, pointer, problem_responses
from errata_service.replica import ServingReplica
from errata_service.routes.edits import IdempotencyKey
from errata_service.waiting import Wait, ended

MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png"}

router = APIRouter(tags=["traces"])

_EXAMPLES = {
    "one prompt": {
        "summary": "One prompt",
        "value": {"prompt": "{} plays the sport of", "subject": "Michael Jordan", "answer": "basketball"},
    },
    "facts": {
        "summary": "Facts that the model should know",
        "value": {"facts": [{"subject": "Michael Jordan", "relation": "plays the sport of", "object": "basketball"}]},
    },
}
PostedTrace = Annotated[TraceRequest, SkipValidation, Body(openapi_examples=_EXAMPLES)]


def _validated(posted: PostedTrace) -> TraceRequest:
    """The request, or all that is wrong with it. As with edits, not left to FastAPI, which would hold up everybody."""
    try:
        request = TraceRequest.model_validate(posted)
    except ValidationError as error:
        faults = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error
    problems = find_problems([body.to_fact() for body in request.facts or ()])
    faults = [
        {"type": "fact", "loc": ("body", "facts", problem.index, problem.field), "msg": problem.detail}
        for problem in problems
    ]
    if faults:
        raise RequestValidationError(faults)
    return request


@router.post(
    "/traces",
    summary="Queue a causal trace",
    status_code=202,
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 409, 413, 422, 429, 503),
)
def create_trace(
    request: Annotated[TraceRequest, Depends(_validated)],
    response: Response,
    replica: ReplicaDep,
    by: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Trace:
    """Of one prompt, or averaged over those of the facts that the model knows, with layers proposed to be edited. A
    worker traces the base model when there is nothing to edit. `Location` names the trace to follow."""
    _check_with_model(request, replica)
    shown = {
        **request.model_dump(exclude={"facts"}),
        "facts": None if request.facts is None else len(request.facts),
    }
    trace = replica.registry.traces.create(request, shown, idempotency_key, by=by)
    response.headers["Location"] = f"/traces/{trace.id}"
    return trace


def _check_with_model(request: TraceRequest, replica: ServingReplica) -> None:
    """Refuse what the worker would refuse, before it is queued."""
    try:
        model = replica.engine.model
    except NotReady:  # it is taken while the model is being loaded
        return
    places = []
    if request.window is not None and request.window > model.num_layers:
        places.append(ProblemItem(pointer="/window", detail=f"the model has {model.num_layers} layers"))
    if request.prompt is not None and request.subject is not None:
        try:
            TracedPrompt.of(model, request.prompt, request.subject, request.answer)
        except TracingError as error:
            places.append(ProblemItem(pointer="/prompt", detail=str(error)))
    facts = [body.to_fact() for body in request.facts or ()]
    places += [
        ProblemItem(pointer=pointer("facts", problem.index, problem.field), detail=problem.detail)
        for problem in find_overlong(model, facts, 0)
    ]
    if places:
        raise ProblemError(422, "invalid-trace", f"{places[0].pointer}: {places[0].detail}", at=places)


@router.get(
    "/traces",
    summary="The traces, newest first",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 422, 503),
)
def list_traces(registry: RegistryDep, limit: Limit = 20, after: str | None = None) -> Page[Trace]:
    """`after` takes the id of a trace and gives the older ones."""
    return shown(registry.traces.page(limit, after))


@router.get(
    "/traces/{trace_id}",
    summary="One trace",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 422, 503),
)
async def get_trace(trace_id: str, replica: ReplicaDep, wait: Wait = 0) -> Trace:
    """How it stands; with `wait`, once it has ended or the time is over."""
    return await ended(lambda: replica.registry.traces.record(trace_id), wait, replica)


@router.post(
    "/traces/{trace_id}/cancel",
    summary="Cancel a trace",
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 503),
)
def cancel_trace(trace_id: str, registry: RegistryDep) -> Trace:
    """One that is queued ends at once, one that runs at its next step. 409 where it has ended otherwise."""
    return registry.traces.request_cancel(trace_id)


@router.get(
    "/traces/{trace_id}/result",
    summary="All that a trace found",
    response_class=FileResponse,
    dependencies=[may_read],
    responses={
        200: {"content": {"application/json": {}}, "description": "What `errata trace` writes as trace.json"},
        **problem_responses(401, 403, 404, 409, 503),
    },
)
def get_result(trace_id: str, registry: RegistryDep) -> FileResponse:
    """Probabilities, effects by token and layer or their averages with intervals, and the proposal. 409 until it has
    succeeded."""
    _succeeded(trace_id, registry)
    return FileResponse(registry.traces.files.existing(trace_id, TRACED), media_type="application/json")


@router.get(
    "/traces/{trace_id}/figures/{name}",
    summary="A figure of a trace",
    response_class=FileResponse,
    dependencies=[may_read],
    responses={
        200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}, "description": "The figure"},
        **problem_responses(401, 403, 404, 409, 503),
    },
)
def get_figure(trace_id: str, name: str, registry: RegistryDep) -> FileResponse:
    """One of those that the trace lists as `figures`."""
    trace = _succeeded(trace_id, registry)
    if name not in trace.figures:
        raise ProblemError(404, "unknown-figure", f"{trace_id} has the figures {', '.join(trace.figures)}, not {name}")
    path = registry.traces.files.existing(trace_id, name)
    return FileResponse(path, media_type=MEDIA_TYPES[name.rpartition(".")[2]])


def _succeeded(trace_id: str, registry: Registry) -> Trace:
    trace = registry.traces.record(trace_id)
    if trace.status is not EditStatus.SUCCEEDED:
        raise ProblemError(409, "conflict", f"{trace_id} is {trace.status}: there is no result")
    return trace
