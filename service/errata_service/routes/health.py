"""Whether the process is alive, whether it serves what it should, and figures for Prometheus.

Open to everyone: the figures count, and tell nothing of what is asked.
"""

from typing import Literal

from errata_client.records import Described, Ready
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from errata_service.bodies import BoundedRoute
from errata_service.dependencies import ReplicaDep
from errata_service.description import problem_responses
from errata_service.problems import NotReady

router = APIRouter(route_class=BoundedRoute, tags=["health"])


class Alive(Described):
    """The process answers.

    Attributes:
        status: always `alive`.
    """

    status: Literal["alive"] = "alive"


@router.get("/healthz", summary="Alive")
async def get_liveness() -> Alive:
    """Answers as long as the process does."""
    return Alive()


@router.get("/readyz", summary="Able to serve", response_model_exclude_none=True, responses=problem_responses(503))
def get_readiness(replica: ReplicaDep) -> Ready:
    """503 says what is missing. A service is ready, too, while another version serves than should, and without workers:
    edits wait for one then, and generation goes on."""
    if replica.obstacle is not None:
        raise NotReady(replica.obstacle)
    replica.engine.require_working()
    surroundings = replica.surroundings()
    version = replica.engine.active
    assert version is not None
    ready = Ready(
        version=version,
        outages=surroundings.outages,
        workers=surroundings.num_workers,
        news_age_s=round(replica.news_age_s, 3),
    )
    if (passed_over := replica.passed_over) is None:
        return ready
    return ready.model_copy(update={"should_serve": passed_over.version, "reason": passed_over.reason})


@router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
def get_metrics(replica: ReplicaDep) -> Response:
    """In Prometheus' text form."""
    return Response(replica.metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
