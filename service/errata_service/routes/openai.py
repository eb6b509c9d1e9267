"""What clients of OpenAI's interface ask: which models there are, and completions of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from errata_client.records import BASE_VERSION, Version
from errata_registry.registry import Registry
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from errata.errors import pointer
from errata_service.bodies import BoundedRoute
from errata_service.dependencies import RegistryDep, ReplicaDep, may_read
from errata_service.description import problem_responses
from errata_service.engine.events import Event, Finished, NewToken, Prefilled, Token
from errata_service.openai_answers import OpenAIAnswers
from errata_service.openai_api import MODEL, ModelCard, ModelCards, version_of
from errata_service.openai_completions import Choice, CompletionAnswer, CompletionRequest, Logprobs
from errata_service.prompts import prompt_ids, prompt_offsets, prompt_text
from errata_service.replica import ServingReplica

PAGE = 1000

router = APIRouter(route_class=BoundedRoute, prefix="/v1", tags=["openai"], **may_read(400, 404, 503))


@router.get("/models", summary="The active version, the base, and every version")
def list_openai_models(registry: RegistryDep, replica: ReplicaDep) -> ModelCards:
    """`errata` is the active version, whichever that is."""
    return ModelCards(data=list(_cards(registry, replica.has_chat_template)))


@router.get("/models/{name}", summary="One of them")
def get_openai_model(name: str, replica: ReplicaDep) -> ModelCard:
    """404 where there is none of that name."""
    registry, version = replica.registry, replica.version_asked(version_of(name))
    record = registry.versions.get(registry.activations.active() if version is None else version)
    return _card(name, record, replica.has_chat_template)


@router.post(
    "/completions",
    summary="Completions",
    response_model=CompletionAnswer,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Completions, or their events with `stream`"},
        **problem_responses(409, 429, 504),
    },
)
async def create_completion(request: CompletionRequest, replica: ReplicaDep, http: Request) -> Any:
    """Continue a prompt, or several, `n` times each. The version is settled when the request is accepted."""
    asked = await run_in_threadpool(_Asked.of, request, replica)
    inputs = request.sequence_inputs(asked.prompt_ids, asked.offsets)
    return await _Answers(asked).respond(replica.gateway, inputs, asked.version, http)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with its prompts as tokens, and as the texts that `echo` gives back, for each choice."""

    request: CompletionRequest
    replica: ServingReplica
    version: int | None
    prompt_ids: list[list[int]]
    offsets: list[list[int]]
    echoed: list[str]

    @classmethod
    def of(cls, request: CompletionRequest, replica: ServingReplica) -> _Asked:
        """Raises `ProblemError`, `UnknownVersion`, `UnknownAlias`."""
        version = replica.version_asked(version_of(request.model))
        model = replica.engine.model
        room = min(1, request.max_tokens if request.max_tokens is not None else 1)
        token_ids = [prompt_ids(model, prompt, pointer("prompt"), room) for prompt in request.prompts]
        offsets = [prompt_offsets(model, prompt) if request.wants_prompt_logprobs else [] for prompt in request.prompts]
        texts = [prompt_text(model, prompt) if request.echo else "" for prompt in request.prompts]
        echoed = [text for text in texts for _ in range(request.num_choices)]
        return cls(request, replica, version, token_ids, offsets, echoed)


class _Answers(OpenAIAnswers):
    """Completions. A stream has an event for what is echoed, for each token and for each choice's end."""

    answer = chunk = CompletionAnswer
    id_prefix = "cmpl"
    operation = "text_completion"

    def __init__(self, asked: _Asked) -> None:
        super().__init__(asked.request, sum(map(len, asked.prompt_ids)))
        self._asked = asked
        self._tokenizer = asked.replica.engine.model.tokenizer

    def whole_choices(self, finished: Sequence[Finished]) -> list[Choice]:
        choices = []
        for one in finished:
            echoed = self._asked.echoed[one.index]
            choices.append(
                Choice(
                    index=one.index,
                    text=echoed + one.text,
                    logprobs=self._logprobs(one.prompt_tokens, one.tokens, len(echoed)),
                    finish_reason=one.finish_reason,
                )
            )
        return choices

    def additions(self, event: Event) -> Iterator[Choice]:
        match event:
            case Prefilled() if self._asked.request.echo:
                text = self._asked.echoed[event.index]
                yield Choice(index=event.index, text=text, logprobs=self._logprobs(event.tokens))
            case NewToken():
                logprobs = self._logprobs((), [event.token], len(self._asked.echoed[event.index]))
                yield Choice(index=event.index, text=event.text, logprobs=logprobs)
            case Finished():
                yield Choice(index=event.index, text=event.rest, finish_reason=event.finish_reason)

    def _logprobs(self, prompt: Sequence[Token], chosen: Sequence[Token] = (), begin: int = 0) -> Logprobs | None:
        """Of tokens of the prompt and of those that were chosen, whose text begins at `begin`; None if not asked."""
        if self._asked.request.logprobs is None:
            return None
        return Logprobs.of(self._tokenizer, [*((token, 0) for token in prompt), *((token, begin) for token in chosen)])


def _card(name: str, version: Version, has_chat_template: bool | None) -> ModelCard:
    return ModelCard(id=name, created=int(version.created_at.timestamp()), has_chat_template=has_chat_template)


def _cards(registry: Registry, has_chat_template: bool | None) -> Iterator[ModelCard]:
    yield _card(MODEL, registry.versions.get(registry.activations.active()), has_chat_template)
    after: int | None = None
    while True:
        page = registry.versions.page(PAGE, after)
        for version in page.data:
            for name in ("base" if version.id == BASE_VERSION else version.id, *version.aliases):
                yield _card(f"{MODEL}@{name}", version, has_chat_template)
        if page.next is None:
            return
        after = int(page.next)
