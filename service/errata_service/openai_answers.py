"""An answer in OpenAI's language, whole or as server-sent events: what completions and chat completions share."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT
from pydantic import BaseModel

from errata_service.engine.events import Event, Finished
from errata_service.engine.request import SequenceInput
from errata_service.gateway import Gateway
from errata_service.generation_span import Operation
from errata_service.openai_api import MODEL, OpenAIRequest, TokenUsage
from errata_service.problems import openai_error, problem_of
from errata_service.streaming import EventStreamResponse, KeepAlive, Stream, finished_unless_gone, sse_event


class OpenAIAnswers(ABC):
    """The answer to one request. What its choices are, and what an event adds to one, a subclass says."""

    answer: type[BaseModel]
    chunk: type[BaseModel]  # an event of a stream
    id_prefix: str
    operation: Operation

    def __init__(self, request: OpenAIRequest, num_prompt_tokens: int) -> None:
        self._request = request
        self._num_prompt_tokens = num_prompt_tokens
        self._shared: dict[str, Any] = {}

    @abstractmethod
    def whole_choices(self, finished: Sequence[Finished]) -> list[Any]:
        """Return all choices, in order."""

    @abstractmethod
    def additions(self, event: Event) -> Iterator[Any]:
        """Yield what an event adds to a choice, each thing by itself."""

    async def respond(
        self, gateway: Gateway, inputs: Sequence[SequenceInput], version: int | None, http: Request
    ) -> Any:
        """Generate, and return the answer or the response that streams it. Raises as `Gateway.open`."""
        is_streamed = bool(self._request.stream)
        model = self._request.model
        stream = await gateway.open(inputs, version, streamed=is_streamed, operation=self.operation, model=model)
        self._shared = {
            "id": f"{self.id_prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": f"{MODEL}@{stream.version or 'base'}",
        }
        if is_streamed:
            return EventStreamResponse(self._events(stream), stream)
        with closing(stream):
            finished = await finished_unless_gone(stream, http)
        return finished if isinstance(finished, Response) else await run_in_threadpool(self._whole, finished)

    def _whole(self, finished: Sequence[Finished]) -> BaseModel:
        return self.answer(**self._shared, choices=self.whole_choices(finished), usage=self._usage(finished))

    async def _events(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield the events as clients of OpenAI's interface read them, an error if there is one, and `[DONE]`."""
        finished = []
        try:
            async for event in stream.events():
                if isinstance(event, KeepAlive):
                    yield KEEPALIVE_COMMENT
                    continue
                if isinstance(event, Finished):
                    finished.append(event)
                for choice in self.additions(event):
                    yield self._sent([choice])
            if self._request.wants_usage:
                yield self._sent([], usage=self._usage(finished))
        except Exception as error:  # the answer has begun, so that its status cannot say it
            yield sse_event(json.dumps(openai_error(problem_of(error))))
        yield sse_event("[DONE]")

    def _sent(self, choices: list[Any], **usage: TokenUsage) -> bytes:
        return sse_event(self.chunk(**self._shared, choices=choices, **usage).model_dump_json())

    def _usage(self, finished: Sequence[Finished]) -> TokenUsage:
        return TokenUsage.of(self._num_prompt_tokens, finished)
