"""What all of OpenAI's interface shares on the wire: how a model is named and sampled from, usage, and the models."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, Literal

from errata_client.records import NUMBERS_END, Described, Given, Text
from errata_registry.versions.names import VersionName, version_name
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from transformers import PreTrainedTokenizerFast

from errata_service.engine.events import Finished
from errata_service.engine.sampling import SamplingParams
from errata_service.generation import MAX_STOPS, Stop, Stops, one_or_several
from errata_service.problems import ProblemError

MODEL = "errata"
MAX_CHOICES = 128
NOT_SERVED = "is not served here; leave it out"


def _not_served(value: Any) -> Any:
    if value:
        raise PydanticCustomError("not_served", NOT_SERVED)
    return value


NotServed = Annotated[Any, AfterValidator(_not_served), WithJsonSchema({"enum": [None, False, 0, "", [], {}]})]
NotLookedAt = Annotated[Any, Field(description="Taken and not looked at.")]


class StreamOptions(Given):
    """What a stream ends with.

    Attributes:
        include_usage: whether the stream ends with the tokens that it took.
        include_obfuscation: taken and not looked at.
    """

    include_usage: bool = False
    include_obfuscation: bool = False


class OpenAIRequest(Given):
    """What every generation may be asked with. `top_k` and `repetition_penalty` are not OpenAI's, but common.

    Attributes:
        temperature: 0 is greedy.
        top_p: the share of probability that tokens are drawn from.
        top_k: the number of likeliest tokens that are drawn from.
        repetition_penalty: above 1, what was said before becomes less likely.
        n: choices for each prompt.
        seed: what draws begin from.
        stop: texts before which a choice ends; one may stand alone.
        stream: whether to send events, one for each token.
        stream_options: what a stream ends with.
        presence_penalty, frequency_penalty, logit_bias: not served: only what asks nothing is taken.
    """

    model: Annotated[
        Text,
        Field(description="`errata` (the active version), `errata@3`, `errata@<name>` or `errata@base`."),
    ]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(ge=1, lt=NUMBERS_END)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = 1.0
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = 1
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[
        tuple[Stop, ...] | None,
        Field(max_length=MAX_STOPS),
        BeforeValidator(one_or_several, json_schema_input_type=Stop | Stops | None),
    ] = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: NotLookedAt = None
    presence_penalty: NotServed = None
    frequency_penalty: NotServed = None
    logit_bias: NotServed = None

    @property
    def num_choices(self) -> int:
        """How many continuations of each prompt are wanted."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the tokens that it took."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, choice: int) -> SamplingParams:
        """Return how the tokens of a prompt's choice are drawn, each choice with a seed of its own."""
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=self.top_p or 1.0,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty or 1.0,
            # Not below 0: random numbers drawn from a seed and from its negative are the same.
            seed=None if self.seed is None else (self.seed + choice) % 2**64,
        )


class TokenUsage(Described):
    """Tokens read and tokens chosen, over all choices; a prompt counts once.

    Attributes:
        prompt_tokens: tokens read.
        completion_tokens: tokens chosen.
        total_tokens: both together.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, num_prompt_tokens: int, finished: Iterable[Finished]) -> TokenUsage:
        """Return what an answer took."""
        chosen = sum(len(one.tokens) for one in finished)
        return cls(prompt_tokens=num_prompt_tokens, completion_tokens=chosen, total_tokens=num_prompt_tokens + chosen)


class ModelCard(Described):
    """A model that can be asked for.

    Attributes:
        id: the name to ask for.
        object: always `model`.
        created: when the version was made, in seconds since 1970.
        owned_by: always `errata`.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = MODEL
    has_chat_template: bool | None = Field(
        description="Whether it takes chat completions; null while the model is being loaded."
    )


class ModelCards(Described):
    """All of them.

    Attributes:
        object: always `list`.
        data: the models.
    """

    object: Literal["list"] = "list"
    data: list[ModelCard]


def version_of(model: str) -> VersionName | None:
    """Return the name of the version that a model's name asks for; None for the active one.

    Raises:
        ProblemError: it can be no model's name.
    """
    name, at, version = model.partition("@")
    if name == MODEL and not at:
        return None
    if name == MODEL:
        with suppress(PydanticCustomError):
            return version_name(version)
    raise ProblemError(
        404,
        "model-not-found",
        f"there is no model {model[:100]!r}; there are {MODEL}, {MODEL}@base, {MODEL}@<version> and {MODEL}@<name>",
    )


def shown(tokenizer: PreTrainedTokenizerFast, token_id: int) -> str:
    """Return a token as text, or as `token_id:<id>` where it is no text by itself."""
    text = str(tokenizer.backend_tokenizer.decode([token_id], skip_special_tokens=False))
    return text if text and "\N{REPLACEMENT CHARACTER}" not in text else f"token_id:{token_id}"
