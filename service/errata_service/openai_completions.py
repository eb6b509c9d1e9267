"""OpenAI's completions on the wire: what is asked and what is answered, as their clients know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from errata_client.records import Described, Text, rules
from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError
from transformers import PreTrainedTokenizerFast

from errata_service.engine.events import FinishReason, Token
from errata_service.engine.request import SequenceInput
from errata_service.generation import MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS, MAX_PROMPTS
from errata_service.openai_api import MODEL, NotServed, OpenAIRequest, TokenUsage, shown

MAX_LOGPROBS = 5
BEST_OF_IS_N = "`best_of` is not served here other than as `n`; leave it out"
NONE_ONLY_WITH_ECHO = "`max_tokens` may be 0 only with `echo`"

PromptText = Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)]


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


TokenId = Annotated[int, BeforeValidator(_number)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS, fail_fast=True)]


def _kind_of_prompt(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else None
    return "texts" if isinstance(first, str) else "tokens_of_each" if isinstance(first, list) else "tokens"


# Told apart before they are looked at, so that an error speaks of the one that was meant.
Prompt = Annotated[
    Annotated[PromptText, Tag("text")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[list[PromptText], Field(max_length=MAX_PROMPTS, fail_fast=True), Tag("texts")]
    | Annotated[list[TokenIds], Field(max_length=MAX_PROMPTS, fail_fast=True), Tag("tokens_of_each")],
    Discriminator(_kind_of_prompt, "prompt", "must be text, token ids, or a list of either"),
]


class CompletionRequest(OpenAIRequest):
    """The body of `POST /v1/completions`.

    Attributes:
        prompt: text, token ids, or a list of either.
        max_tokens: tokens at most.
        best_of: as many as `n`.
        logprobs: how many likeliest tokens to tell at each place.
        echo: whether to give the prompt back before its continuation.
        suffix: not served.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            BEST_OF_IS_N,
            f"prompts times `n` may be at most {MAX_PROMPTS}",
            NONE_ONLY_WITH_ECHO,
            examples=[{"model": MODEL, "prompt": "Michael Jordan plays the sport of", "max_tokens": 8}],
        )
    )

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, le=MAX_NEW_TOKENS)] | None = 16
    best_of: int | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    echo: bool | None = False
    suffix: NotServed = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.best_of not in (None, self.num_choices):
            raise PydanticCustomError("best_of", BEST_OF_IS_N)
        if len(self.prompts) * self.num_choices > MAX_PROMPTS:
            raise PydanticCustomError("choices", "prompts times `n` may be at most {limit}", {"limit": MAX_PROMPTS})
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError("max_tokens", NONE_ONLY_WITH_ECHO)
        return self

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """The prompts in order, each as text or as token ids."""
        prompt: Any = self.prompt
        several = isinstance(prompt, list) and not (prompt and isinstance(prompt[0], int))
        return prompt if several else [prompt]

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether the prompts are given back with log probabilities."""
        return bool(self.echo) and self.logprobs is not None

    def sequence_inputs(self, prompts: Sequence[list[int]], offsets: Sequence[Sequence[int]]) -> list[SequenceInput]:
        """Return `num_choices` inputs for each prompt, with consecutive seeds."""
        return [
            SequenceInput(
                prompt_ids=prompt_ids,
                max_new_tokens=16 if self.max_tokens is None else self.max_tokens,
                sampling=self.sampling(choice),
                stop=self.stop or (),
                num_logprobs=self.logprobs,
                prompt_logprobs=self.wants_prompt_logprobs,
                prompt_offsets=prompt_offsets,
            )
            for prompt_ids, prompt_offsets in zip(prompts, offsets, strict=True)
            for choice in range(self.num_choices)
        ]


class Logprobs(Described):
    """Log probabilities of a choice's tokens, in columns. A token that is no text by itself is `token_id:<id>`.

    Attributes:
        tokens: the tokens.
        token_logprobs: the log probability of each; null for the first of a prompt.
        top_logprobs: the likeliest tokens at each place.
        text_offset: where each token begins in the text.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, tokens: Sequence[tuple[Token, int]]) -> Logprobs:
        """Of tokens, each with the place in the choice's text from which its offset is counted."""
        texts = {token_id: shown(tokenizer, token_id) for token, _ in tokens for token_id in token.ids}
        return cls(
            tokens=[texts[token.id] for token, _ in tokens],
            token_logprobs=[token.logprob for token, _ in tokens],
            top_logprobs=[_top(token, texts) for token, _ in tokens],
            text_offset=[begin + token.offset for token, begin in tokens],
        )


class Choice(Described):
    """One continuation, or what a token adds to it.

    Attributes:
        index: its number.
        text: the continuation.
        logprobs: log probabilities, where they were asked for.
        finish_reason: what ended it; null until it has ended.
    """

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class CompletionAnswer(Described):
    """What `POST /v1/completions` answers, and, with `stream`, each of its events.

    Attributes:
        id: names the answer.
        object: always `text_completion`.
        created: when it was made, in seconds since 1970.
        choices: the continuations.
        usage: the tokens that it took.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str = Field(description="The model with its version, `errata@3`, whatever name it was asked by.")
    choices: list[Choice]
    usage: TokenUsage | None = None


def _top(token: Token, texts: Mapping[int, str]) -> dict[str, float] | None:
    """The likeliest tokens and the one that is there; None for a prompt's first one."""
    if token.logprob is None:
        return None
    return {texts[token_id]: logprob for token_id, logprob in (*token.likeliest, (token.id, token.logprob))}
