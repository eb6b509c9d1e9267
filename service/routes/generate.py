"""Generation under the active version, any other, or the base."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool

from service.dependencies import ReplicaDep, may_read
from service.generation import GenerateRequest, Generation
from service.problems import problem_responses
from service.replica import ServingReplica

router = APIRouter(
    tags=["generate"], dependencies=[may_read], responses=problem_responses(401, 403, 404, 409, 422, 503)
)


@router.post("/generate", summary="Generate")
async def post_generate(request: GenerateRequest, replica: ReplicaDep) -> Generation:
    """Continue a prompt, or several. The version is settled when the request is accepted and kept to its end."""
    return await _generated(request, replica)


@router.get("/generate", summary="Generate, from the address bar")
async def get_generate(request: Annotated[GenerateRequest, Query()], replica: ReplicaDep) -> Generation:
    """As `POST /generate`; `prompts` and `stop` may be given several times."""
    return await _generated(request, replica)


async def _generated(request: GenerateRequest, replica: ServingReplica) -> Generation:
    return await asyncio.wrap_future(await run_in_threadpool(_accepted, request, replica))


def _accepted(request: GenerateRequest, replica: ServingReplica) -> Future[Generation]:
    if request.version:
        # Its weights may still be in memory when it was deleted, here or by another replica.
        replica.registry.artifacts.manifest(request.version)
    return replica.engine.submit(request)
