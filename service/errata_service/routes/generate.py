"""Generation under the active version, any other, or the base."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT

from errata_service.dependencies import ReplicaDep, may_read
from errata_service.engine.tasks import Finished, Piece, Task
from errata_service.following import EventStream, Following, Quiet, finished_unless_gone, server_sent
from errata_service.generation import Completion, EndEvent, GenerateRequest, Generation, TokenEvent, Usage
from errata_service.problems import pointer, problem_of, problem_responses
from errata_service.prompts import prompt_ids
from errata_service.replica import ServingReplica

router = APIRouter(
    tags=["generate"],
    dependencies=[may_read],
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Completions, or their events with `stream`"},
        **problem_responses(401, 403, 404, 409, 422, 429, 503, 504),
    },
)


@router.post("/generate", summary="Generate", response_model=Generation)
async def post_generate(request: GenerateRequest, replica: ReplicaDep, http: Request) -> Any:
    """Continue a prompt, or several. The version is settled when the request is accepted and kept to its end.

    With `stream`, server-sent events: `token` for each token, `end` for each prompt, and `error`, with a problem
    document, where it cannot be brought to its end.
    """
    return await _generated(request, replica, http)


@router.get("/generate", summary="Generate, from the address bar", response_model=Generation)
async def get_generate(request: Annotated[GenerateRequest, Query()], replica: ReplicaDep, http: Request) -> Any:
    """As `POST /generate`; `prompts` and `stop` may be given several times."""
    return await _generated(request, replica, http)


async def _generated(request: GenerateRequest, replica: ServingReplica, http: Request) -> Generation | Response:
    version, tasks = await run_in_threadpool(_asked, request, replica)
    following = await Following.begin(replica.engine, tasks, version, streamed=request.stream)
    if request.stream:
        return EventStream(_events(following), following)
    with closing(following):
        finished = await finished_unless_gone(following, http)
    if isinstance(finished, Response):
        return finished
    completions = [
        Completion(prompt=prompt, text=one.text, finish_reason=one.finish_reason, usage=Usage.of(one))
        for prompt, one in zip(request.all_prompts, finished, strict=True)
    ]
    return Generation(data=completions, version=following.version)


def _asked(request: GenerateRequest, replica: ServingReplica) -> tuple[int | None, list[Task]]:
    """The version, and what the engine is to do. Raises `ProblemError`, `UnknownVersion`, `UnknownAlias`."""
    version = replica.version_asked(request.version)
    model = replica.engine.model
    if request.prompt is not None:
        return version, [request.task(prompt_ids(model, request.prompt, pointer("prompt")))]
    return version, [
        request.task(prompt_ids(model, prompt, pointer("prompts", index)))
        for index, prompt in enumerate(request.all_prompts)
    ]


async def _events(following: Following) -> AsyncIterator[bytes]:
    version = following.version
    try:
        async for event in following.events():
            match event:
                case Quiet():
                    yield KEEPALIVE_COMMENT
                case Piece():
                    token = TokenEvent(index=event.index, text=event.text, version=version)
                    yield server_sent(token.model_dump_json(), "token")
                case Finished():
                    end = EndEvent(
                        index=event.index,
                        text=event.rest,
                        finish_reason=event.finish_reason,
                        usage=Usage.of(event),
                        version=version,
                    )
                    yield server_sent(end.model_dump_json(), "end")
    except Exception as error:  # the answer has begun, so that its status cannot say it
        yield server_sent(problem_of(error).model_dump_json(), "error")
