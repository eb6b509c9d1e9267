"""Traces: which layers of the base model recall an answer, and what was found, with figures."""

from typing import Annotated

from errata_client.records import JobStatus, Trace
from errata_registry.jobs.kinds import TRACE
from errata_registry.jobs.requests import TraceRequest
from errata_registry.registry import Registry
from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from errata.errors import Conflict
from errata_service.bodies import BoundedRoute, takes_records
from errata_service.dependencies import RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.problems import ProblemError
from errata_service.routes import jobs
from errata_service.routes.jobs import QueueingDep
from errata_service.validation import check_trace, trace_request

MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png"}

router = APIRouter(route_class=BoundedRoute, tags=["traces"])


@router.post("/traces", summary="Queue a causal trace", status_code=202, **may_edit(409, 413, 422, 429, 503))
@takes_records
def create_trace(
    request: Annotated[TraceRequest, Depends(trace_request)], replica: ReplicaDep, queueing: QueueingDep
) -> Trace:
    """Of one prompt, or averaged over those of the facts that the model knows, with layers proposed to be edited. A
    worker traces the base model when there is nothing to edit. `Location` names the trace to follow."""
    check_trace(request, replica)
    shown = {
        **request.model_dump(exclude={"facts"}),
        "facts": None if request.facts is None else len(request.facts),
    }
    traces = replica.registry.traces
    trace = traces.create(request, shown, queueing.idempotency_key, by=queueing.by, route=queueing.route)
    return queueing.named(TRACE, trace)


jobs.add_list(router, TRACE)
jobs.add_routes_of_one(router, TRACE)


@router.get(
    "/traces/{trace_id}/result",
    summary="All that a trace found",
    response_class=FileResponse,
    **may_read(404, 409, 503, sends=("What `errata trace` writes as trace.json", "application/json")),
)
def get_trace_result(trace_id: str, registry: RegistryDep) -> FileResponse:
    """Probabilities, effects by token and layer or their averages with intervals, and the proposal. 409 until it has
    succeeded."""
    _succeeded(trace_id, registry)
    return FileResponse(registry.traces.folder.file(trace_id, "trace.json"), media_type="application/json")


@router.get(
    "/traces/{trace_id}/figures/{name}",
    summary="A figure of a trace",
    response_class=FileResponse,
    **may_read(404, 409, 503, sends=("The figure", *MEDIA_TYPES.values())),
)
def get_trace_figure(trace_id: str, name: str, registry: RegistryDep) -> FileResponse:
    """One of those that the trace lists as `figures`."""
    trace = _succeeded(trace_id, registry)
    if name not in trace.figures:
        raise ProblemError(404, "unknown-figure", f"{trace_id} has the figures {', '.join(trace.figures)}, not {name}")
    path = registry.traces.folder.file(trace_id, name)
    return FileResponse(path, media_type=MEDIA_TYPES[name.rpartition(".")[2]])


def _succeeded(trace_id: str, registry: Registry) -> Trace:
    trace = registry.traces.record(trace_id)
    if trace.status is not JobStatus.SUCCEEDED:
        raise Conflict(f"{trace_id} is {trace.status}: there is no result")
    return trace
