"""Generation under the active version, any other, or the base."""

from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
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
from errata_service.openai_api import MODEL
from errata_service.problems import problem_of
from errata_service.prompts import prompt_ids
from errata_service.replica import ServingReplica
from errata_service.streaming import EventStreamResponse, KeepAlive, Stream, finished_unless_gone, sse_event

router = APIRouter(
    route_class=BoundedRoute,
    tags=["generate"],
    **may_read(404, 409, 422, 429, 503, 504, sends=("Completions, or their events with `stream`", "text/event-stream")),
)


@router.post("/generate", summary="Generate", response_model=Generation)
async def generate(request: GenerateRequest, replica: ReplicaDep, http: Request) -> Any:
    """Continue a prompt, or several, or answer messages. The version is settled when the request is accepted and kept
    to its end.

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
async def generate_from_query(request: Annotated[GenerateQuery, Query()], replica: ReplicaDep, http: Request) -> Any:
    """As `POST /generate`; `prompts`, `messages` and `stop` may be given several times."""
    return await _generated(request, replica, http)


async def _generated(request: GenerateRequest, replica: ServingReplica, http: Request) -> Generation | Response:
    asked = await run_in_threadpool(_Asked.of, request, replica)
    stream = await replica.gateway.open(
        asked.inputs,
        asked.version,
        streamed=request.stream,
        operation="text_completion" if request.messages is None else "chat",
        model=MODEL if request.version is None else f"{MODEL}@{request.version}",
    )
    if request.stream:
        return EventStreamResponse(_events(stream), stream)
    with closing(stream):
        finished = await finished_unless_gone(stream, http)
    if isinstance(finished, Response):
        return finished
    completions = [
        Completion(prompt=prompt, text=one.text, finish_reason=one.finish_reason, usage=usage_of(one))
        for prompt, one in zip(asked.prompts, finished, strict=True)
    ]
    return Generation(data=tuple(completions), version=stream.version)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the engine takes it, and its prompts as texts."""

    version: int | None
    inputs: list[SequenceInput]
    prompts: tuple[str, ...]

    @classmethod
    def of(cls, request: GenerateRequest, replica: ServingReplica) -> "_Asked":
        """Raises `ProblemError`, `UnknownVersion`, `UnknownAlias`."""
        version = replica.version_asked(request.version)
        model = replica.engine.model
        if request.messages is not None:
            chat, place = replica.chat, pointer("messages")
            messages = [message.model_dump() for message in request.messages]
            ids = prompt_ids(model, chat.prompt_ids(messages, place), place)
            return cls(version, [request.sequence_input(ids, chat.end_ids)], (chat.prompt_text(messages, place),))
        if request.prompt is not None:
            ids = prompt_ids(model, request.prompt, pointer("prompt"))
            return cls(version, [request.sequence_input(ids)], (request.prompt,))
        prompts = request.prompts or ()
        inputs = [
            request.sequence_input(prompt_ids(model, prompt, pointer("prompts", index)))
            for index, prompt in enumerate(prompts)
        ]
        return cls(version, inputs, prompts)


async def _events(stream: Stream) -> AsyncIterator[bytes]:
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
