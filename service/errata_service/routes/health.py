"""Whether the process is alive, and whether it serves what it should. Open to everyone."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from errata_service.dependencies import ReplicaDep
from errata_service.problems import NotReady, problem_responses

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """The model is loaded, Redis answers, and the version serves that requests use when they name none."""

    status: Literal["ready"] = "ready"
    version: int


@router.get("/healthz", summary="Alive")
async def healthz() -> Alive:
    """Answers as long as the process does."""
    return Alive()


@router.get("/readyz", summary="Able to serve", responses=problem_responses(503))
def readyz(replica: ReplicaDep) -> Ready:
    """503 says what is missing."""
    if replica.obstacle is not None:
        raise NotReady(replica.obstacle)
    if not replica.registry.ping():
        raise NotReady("Redis does not answer; generation under the active version goes on")
    version = replica.engine.active
    assert version is not None
    return Ready(version=version)
