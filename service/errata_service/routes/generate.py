"""Generation under the active version, any other, or the base."""

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Annotated, Any

from errata_client.records import Completion, EndEvent, Generation, TokenEvent, rules
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT

from errata.errors import pointer
from errata_service.bodies import BoundedRoute
from errata_service.dependencies import ReplicaDep, may_read
from errata_service.engine.events import Finished, NewToken
from errata_service.engine.request import SequenceInput
from errata_service.generation import ONE_KIND_OF_PROMPT, GenerateQuery, GenerateRequest, usage_of
from errata_service.problems import problem_of
from errata_service.prompts import prompt_ids
from errata_service.replica import ServingReplica
from errata_service.streaming import EventStreamResponse, KeepAlive, RequestStream, finished_unless_gone, sse_event

router = APIRouter(
    route_class=BoundedRoute,
    tags=["generate"],
    **may_read(404, 409, 422, 429, 503, 504, sends=("Completions, or their events with `stream`", "text/event-stream")),
)


@router.post("/generate", summary="Generate", response_model=Generation)
async def post_generate(request: GenerateRequest, replica: ReplicaDep, http: Request) -> Any:
    """Continue a prompt, or several. The version is settled when the request is accepted and kept to its end.

    With `stream`, server-sent events: `token` for each token, `end` for each prompt, and `error`, with a problem
    document, where it cannot be brought to its end.
    """
    return await _generated(request, replica, http)


@router.get(
    "/generate",
    summary="Generate, from the address bar",
    response_model=Generation,
    openapi_extra=rules(ONE_KIND_OF_PROMPT),
)
async def get_generate(request: Annotated[GenerateQuery, Query()], replica: ReplicaDep, http: Request) -> Any:
    """As `POST /generate`; `prompts` and `stop` may be given several times."""
    return await _generated(request, replica, http)


async def _generated(request: GenerateRequest, replica: ServingReplica, http: Request) -> Generation | Response:
    version, inputs = await run_in_threadpool(_inputs, request, replica)
    stream = await RequestStream.open(replica.engine, inputs, version, streamed=request.stream)
    if request.stream:
        return EventStreamResponse(_events(stream), stream)
    with closing(stream):
        finished = await finished_unless_gone(stream, http)
    if isinstance(finished, Response):
        return finished
    completions = [
        Completion(prompt=prompt, text=one.text, finish_reason=one.finish_reason, usage=usage_of(one))
        for prompt, one in zip(request.all_prompts, finished, strict=True)
    ]
    return Generation(data=tuple(completions), version=stream.version)


def _inputs(request: GenerateRequest, replica: ServingReplica) -> tuple[int | None, list[SequenceInput]]:
    """Return the version and the engine's inputs. Raises `ProblemError`, `UnknownVersion`, `UnknownAlias`."""
    version = replica.version_asked(request.version)
    model = replica.engine.model
    if request.prompt is not None:
        return version, [request.sequence_input(prompt_ids(model, request.prompt, pointer("prompt")))]
    return version, [
        request.sequence_input(prompt_ids(model, prompt, pointer("prompts", index)))
        for index, prompt in enumerate(request.all_prompts)
    ]


async def _events(stream: RequestStream) -> AsyncIterator[bytes]:
    version = stream.version
    try:
        async for event in stream.events():
            match event:
                case KeepAlive():
                    yield KEEPALIVE_COMMENT
                case NewToken():
                    token = TokenEvent(index=event.index, text=event.text, version=version)
                    yield sse_event(token.model_dump_json(), "token")
                case Finished():
                    end = EndEvent(
                        index=event.index,
                        text=event.rest,
                        finish_reason=event.finish_reason,
                        usage=usage_of(event),
                        version=version,
                    )
                    yield sse_event(end.model_dump_json(), "end")
    except Exception as error:  # the answer has begun, so that its status cannot say it
        yield sse_event(problem_of(error).model_dump_json(), "error")
