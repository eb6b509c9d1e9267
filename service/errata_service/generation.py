"""What a generation is asked with, and how its tokens are counted."""

import json
from typing import Annotated, Any, ClassVar, Self

from errata_client.records import NUMBERS_END, Given, Message, Text, Usage, rules
from errata_registry.versions.names import A_VERSION, VersionName
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from errata_service.engine.events import Finished
from errata_service.engine.request import SequenceInput
from errata_service.engine.sampling import SamplingParams

MAX_PROMPTS = 256
MAX_PROMPT_CHARACTERS = 100_000
MAX_NEW_TOKENS = 2048
MAX_STOPS = 16
MAX_MESSAGES = 1000
ONE_KIND_OF_PROMPT = "exactly one of `prompt`, `prompts` and `messages` must be given"

Prompt = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
Stop = Annotated[Text, Field(min_length=1)]
Stops = Annotated[list[Stop], Field(max_length=MAX_STOPS)]


def one_or_several(value: Any) -> Any:
    """Take a text that stands alone as a list of one."""
    return (value,) if isinstance(value, str) else value


def _message_of_query(value: Any) -> Any:
    """Read a message that is JSON; any other text is a user's words."""
    if not isinstance(value, str):
        return value
    if not value.startswith("{"):
        return {"role": "user", "content": value}
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise PydanticCustomError("message", "begins with { and is no message as JSON") from error


NumberOfMessages = Field(min_length=1, max_length=MAX_MESSAGES)
# A part of what is taken: JSON may be written in many ways.
MESSAGE_IN_QUERY = r'^(([^{][\s\S]*)?|\{"role": ?"(system|user|assistant)", ?"content": ?"[^"\\\u0000-\u001f]*"\})$'
MessageInQuery = Annotated[
    Message,
    BeforeValidator(_message_of_query),
    WithJsonSchema({"type": "string", "pattern": MESSAGE_IN_QUERY}),
]


class GenerateRequest(Given):
    """One prompt or several, or a conversation, how to choose tokens, and the version to choose them under.

    Attributes:
        prompt: a prompt to continue.
        prompts: several prompts to continue.
        top_p: the share of probability that tokens are drawn from.
        top_k: the number of likeliest tokens that are drawn from.
        repetition_penalty: above 1, what was said before becomes less likely.
        seed: what draws begin from.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            ONE_KIND_OF_PROMPT, examples=[{"prompt": "Michael Jordan plays the sport of", "max_new_tokens": 8}]
        )
    )

    prompt: Prompt | None = None
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)] | None = None
    messages: Annotated[
        list[Message] | None,
        NumberOfMessages,
        Field(description="A conversation, of which the model's chat template makes a prompt, to be answered."),
    ] = None
    max_new_tokens: Annotated[
        int,
        Field(ge=1, le=MAX_NEW_TOKENS, description=f"For `messages` {MAX_NEW_TOKENS} where it is absent."),
    ] = 32
    temperature: Annotated[float, Field(ge=0, le=2, description="0 is greedy.")] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=1, lt=NUMBERS_END)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Each prompt's own draws begin from it.")] | None = None
    stop: Annotated[
        tuple[Stop, ...],
        Field(max_length=MAX_STOPS, description="Texts before which a completion ends; one may stand alone."),
        BeforeValidator(one_or_several, json_schema_input_type=Stop | Stops),
    ] = ()
    version: Annotated[VersionName | None, Field(description=f"{A_VERSION}; the active one where it is absent.")] = None
    stream: Annotated[bool, Field(description="Server-sent events, one for each token.")] = False

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> Self:
        if [self.prompt, self.prompts, self.messages].count(None) != 2:
            raise PydanticCustomError("prompt", ONE_KIND_OF_PROMPT)
        return self

    def sequence_input(self, prompt_ids: list[int], end_ids: frozenset[int] = frozenset()) -> SequenceInput:
        """Return what the engine needs to continue one of the prompts, or to answer the messages up to an end."""
        sampling = SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
        )
        ends_its_turn = self.messages is not None and "max_new_tokens" not in self.model_fields_set
        return SequenceInput(
            prompt_ids=prompt_ids,
            max_new_tokens=MAX_NEW_TOKENS if ends_its_turn else self.max_new_tokens,
            sampling=sampling,
            stop=self.stop,
            end_ids=end_ids,
        )


class GenerateQuery(GenerateRequest):
    """The same in the query of an address."""

    from_query: ClassVar[bool] = True

    messages: Annotated[
        list[MessageInQuery] | None,
        NumberOfMessages,
        Field(description='Each as JSON, `{"role": "user", "content": "…"}`; any other text is a user\'s message.'),
    ] = None


def usage_of(finished: Finished) -> Usage:
    """Count the tokens of one completion."""
    return Usage(prompt_tokens=finished.num_prompt_tokens, completion_tokens=len(finished.tokens))
