"""Chat completions as clients of OpenAI's interface ask for them, through the model's own chat template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from errata.errors import pointer
from errata_service.bodies import BoundedRoute
from errata_service.chat import ChatTemplate
from errata_service.dependencies import ReplicaDep, may_read
from errata_service.description import problem_responses
from errata_service.engine.events import Event, Finished, NewToken, Prefilled, Token
from errata_service.openai_answers import OpenAIAnswers
from errata_service.openai_api import version_of
from errata_service.openai_chat import (
    AnswerMessage,
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatLogprobs,
    ChatRequest,
    ChunkChoice,
    Delta,
)
from errata_service.prompts import prompt_ids
from errata_service.replica import ServingReplica

router = APIRouter(route_class=BoundedRoute, prefix="/v1", tags=["openai"], **may_read(400, 404, 503))


@router.post(
    "/chat/completions",
    summary="Chat completions",
    response_model=ChatAnswer,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Answers, or their events with `stream`"},
        **problem_responses(409, 429, 504),
    },
)
async def create_chat_completion(request: ChatRequest, replica: ReplicaDep, http: Request) -> Any:
    """Answer a conversation, `n` times. The model's chat template makes a prompt of the messages, in which nothing is
    a control token. 400 (`no_chat_template`) where the model has none, and where it refuses the messages.
    """
    asked = await run_in_threadpool(_Asked.of, request, replica)
    inputs = request.sequence_inputs(asked.prompt_ids, asked.chat.end_ids)
    return await _Answers(asked).respond(replica.gateway, inputs, asked.version, http)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with its messages as the tokens of a prompt."""

    request: ChatRequest
    replica: ServingReplica
    chat: ChatTemplate
    version: int | None
    prompt_ids: list[int]

    @classmethod
    def of(cls, request: ChatRequest, replica: ServingReplica) -> _Asked:
        """Raises `ProblemError`, `UnknownVersion`, `UnknownAlias`."""
        version = replica.version_asked(version_of(request.model))
        chat, place = replica.chat, pointer("messages")
        token_ids = chat.prompt_ids([message.for_template for message in request.messages], place)
        return cls(request, replica, chat, version, prompt_ids(replica.engine.model, token_ids, place))


class _Answers(OpenAIAnswers):
    """Chat completions. A stream has each choice's role, what its tokens add to it and its end."""

    answer = ChatAnswer
    chunk = ChatChunk
    id_prefix = "chatcmpl"
    operation = "chat"

    def __init__(self, asked: _Asked) -> None:
        super().__init__(asked.request, len(asked.prompt_ids))
        self._asked = asked
        self._tokenizer = asked.replica.engine.model.tokenizer

    def whole_choices(self, finished: Sequence[Finished]) -> list[ChatChoice]:
        return [
            ChatChoice(
                index=one.index,
                message=AnswerMessage(content=one.text),
                logprobs=self._logprobs(one.tokens),
                finish_reason=one.finish_reason,
            )
            for one in finished
        ]

    def additions(self, event: Event) -> Iterator[ChunkChoice]:
        match event:
            case Prefilled():
                yield _addition(event.index, Delta(role="assistant", content=""))
            case NewToken():
                logprobs = self._logprobs([event.token])
                if event.text or (logprobs and logprobs.content):
                    yield _addition(event.index, Delta(content=event.text), logprobs)
            case Finished():
                if event.rest:
                    yield _addition(event.index, Delta(content=event.rest))
                yield ChunkChoice(index=event.index, delta=Delta(), logprobs=None, finish_reason=event.finish_reason)

    def _logprobs(self, tokens: Iterable[Token]) -> ChatLogprobs | None:
        """Of the tokens of a content, to which the one that ends it does not belong; None if not asked."""
        if not self._asked.request.logprobs:
            return None
        ends = self._asked.chat.end_ids
        return ChatLogprobs.of(self._tokenizer, [token for token in tokens if token.id not in ends])


def _addition(index: int, delta: Delta, logprobs: ChatLogprobs | None = None) -> ChunkChoice:
    return ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=None)
