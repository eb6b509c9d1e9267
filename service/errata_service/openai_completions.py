"""OpenAI's completions on the wire: what is asked and what is answered, as their clients know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from errata_client.records import BASE_VERSION, NUMBERS_END, Given, Text, rules
from errata_registry.serving.aliases import is_alias
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from transformers import PreTrainedTokenizerFast

from errata_service.engine.events import FinishReason, Token
from errata_service.engine.request import SequenceInput
from errata_service.engine.sampling import SamplingParams
from errata_service.generation import (
    MAX_NEW_TOKENS,
    MAX_PROMPT_CHARACTERS,
    MAX_PROMPTS,
    MAX_STOPS,
    Stop,
    Stops,
    one_or_several,
)
from errata_service.problems import ProblemError

MODEL = "errata"
MAX_CHOICES = 128
MAX_LOGPROBS = 5
BEST_OF_IS_N = "`best_of` is not served here other than as `n`; leave it out"
NONE_ONLY_WITH_ECHO = "`max_tokens` may be 0 only with `echo`"
MAX_DIGITS = len(str(NUMBERS_END)) - 1

PromptText = Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)]
TokenId = Annotated[int, Strict()]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS, fail_fast=True)]


def _not_served(value: Any) -> Any:
    if value:
        raise PydanticCustomError("not_served", "is not served here; leave it out")
    return value


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
NotServed = Annotated[Any, AfterValidator(_not_served), WithJsonSchema({"enum": [None, False, 0, "", [], {}]})]


class StreamOptions(Given):
    """What a stream ends with."""

    include_usage: bool = False
    include_obfuscation: bool = False


class CompletionRequest(Given):
    """The body of `POST /v1/completions`. `top_k` and `repetition_penalty` are not OpenAI's, but common."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            BEST_OF_IS_N,
            f"prompts times `n` may be at most {MAX_PROMPTS}",
            NONE_ONLY_WITH_ECHO,
            examples=[{"model": MODEL, "prompt": "Michael Jordan plays the sport of", "max_tokens": 8}],
        )
    )

    model: Annotated[
        Text, Field(description="`errata` (the active version), `errata@3`, `errata@<alias>` or `errata@base`.")
    ]
    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, le=MAX_NEW_TOKENS)] | None = 16
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(ge=1, lt=NUMBERS_END)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = 1.0
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = 1
    best_of: int | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[
        tuple[Stop, ...] | None,
        Field(max_length=MAX_STOPS),
        BeforeValidator(one_or_several, json_schema_input_type=Stop | Stops | None),
    ] = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    echo: bool | None = False
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: Annotated[Any, Field(description="Taken and not looked at.")] = None
    suffix: NotServed = None
    presence_penalty: NotServed = None
    frequency_penalty: NotServed = None
    logit_bias: NotServed = None

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
    def num_choices(self) -> int:
        """How many continuations of each prompt are wanted."""
        return self.n or 1

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
                sampling=SamplingParams(
                    temperature=1.0 if self.temperature is None else self.temperature,
                    top_p=self.top_p or 1.0,
                    top_k=self.top_k,
                    repetition_penalty=self.repetition_penalty or 1.0,
                    # Not below 0: random numbers drawn from a seed and from its negative are the same.
                    seed=None if self.seed is None else (self.seed + choice) % 2**64,
                ),
                stop=self.stop or (),
                num_logprobs=self.logprobs,
                prompt_logprobs=self.wants_prompt_logprobs,
                prompt_offsets=prompt_offsets,
            )
            for prompt_ids, prompt_offsets in zip(prompts, offsets, strict=True)
            for choice in range(self.num_choices)
        ]


class Logprobs(BaseModel):
    """Log probabilities of a choice's tokens, in columns. A token that is no text by itself is `token_id:<id>`."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, tokens: Sequence[tuple[Token, int]]) -> Logprobs:
        """Of tokens, each with the place in the choice's text from which its offset is counted."""
        shown = {token_id: _shown(tokenizer, token_id) for token, _ in tokens for token_id in token.ids}
        return cls(
            tokens=[shown[token.id] for token, _ in tokens],
            token_logprobs=[token.logprob for token, _ in tokens],
            top_logprobs=[_top(token, shown) for token, _ in tokens],
            text_offset=[begin + token.offset for token, begin in tokens],
        )


class Choice(BaseModel):
    """One continuation, or what a token adds to it."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class TokenUsage(BaseModel):
    """Tokens read and tokens chosen, over all choices; a prompt counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionAnswer(BaseModel):
    """What `POST /v1/completions` answers, and, with `stream`, each of its events."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str = Field(description="The model with its version, `errata@3`, whatever name it was asked by.")
    choices: list[Choice]
    usage: TokenUsage | None = None


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = MODEL


class ModelCards(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def version_of(model: str) -> int | str | None:
    """The number or alias of the version that a model's name asks for; None for the active one.

    Raises:
        ProblemError: it can be no model's name.
    """
    name, at, version = model.partition("@")
    if name == MODEL and not at:
        return None
    if name == MODEL and version == "base":
        return BASE_VERSION
    if name == MODEL and version.isascii() and version.isdigit() and len(version) <= MAX_DIGITS:
        return int(version)
    if name == MODEL and is_alias(version):
        return version
    raise ProblemError(
        404,
        "model-not-found",
        f"there is no model {model[:100]!r}; there are {MODEL}, {MODEL}@base, {MODEL}@<version> and {MODEL}@<alias>",
    )


def _top(token: Token, shown: Mapping[int, str]) -> dict[str, float] | None:
    """The likeliest tokens and the one that is there; None for a prompt's first one."""
    if token.logprob is None:
        return None
    return {shown[token_id]: logprob for token_id, logprob in (*token.likeliest, (token.id, token.logprob))}


def _shown(tokenizer: PreTrainedTokenizerFast, token_id: int) -> str:
    text = str(tokenizer.backend_tokenizer.decode([token_id], skip_special_tokens=False))
    return text if text and "\N{REPLACEMENT CHARACTER}" not in text else f"token_id:{token_id}"
