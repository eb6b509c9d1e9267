"""OpenAI's chat completions on the wire: what is asked and what is answered, as their clients know it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

from errata_client.records import Described, Given, Text, rules
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError
from transformers import PreTrainedTokenizerFast

from errata_service.engine.events import FinishReason, Token
from errata_service.engine.request import SequenceInput
from errata_service.generation import MAX_MESSAGES, MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS
from errata_service.openai_api import MODEL, NOT_SERVED, NotLookedAt, NotServed, OpenAIRequest, TokenUsage, shown

MAX_TOP_LOGPROBS = 20
MAX_NAME_CHARACTERS = 64
ROLES_OF_TOOLS = ("tool", "function")
TEXT_ALONE = "is no text, and nothing else is served here"
TOP_OF_LOGPROBS = "`top_logprobs` is given only with `logprobs`"
ONE_LIMIT = "`max_tokens` and `max_completion_tokens` are one limit; give one of them"

Content = Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)]


def _only(*served: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is not None and value not in served:
            raise PydanticCustomError("not_served", NOT_SERVED)
        return value

    return check


def _role_of_one_who_speaks(value: Any) -> Any:
    if value in ROLES_OF_TOOLS:
        raise PydanticCustomError("not_served", "is a tool's, and tools are not served here")
    return value


def _kind_of_content(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list | tuple) else None


class TextPart(Given):
    """A part of a message.

    Attributes:
        type: always `text`.
        text: what is said.
    """

    type: Literal["text"]
    text: Content

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("type", 0), str) and value["type"] != "text":
            raise PydanticCustomError("text_alone", TEXT_ALONE)
        return value


class ChatMessage(Given):
    """One turn of a conversation. `developer` is passed to the model's chat template as `system`, parts as lines.

    Attributes:
        role: who speaks.
        content: what is said: text, or parts that are text.
        name: the name of who speaks, for the chat template.
        refusal, annotations, audio, tool_calls, function_call: not served.
    """

    role: Annotated[Literal["system", "developer", "user", "assistant"], BeforeValidator(_role_of_one_who_speaks)]
    content: Annotated[
        Annotated[Content, Tag("text")]
        | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_MESSAGES), Tag("parts")],
        Discriminator(_kind_of_content, "content", "must be text, or a list of parts that are text"),
    ]
    name: Annotated[Text, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] | None = None
    # What an assistant's message may have besides.
    refusal: NotServed = None
    annotations: NotServed = None
    audio: NotServed = None
    tool_calls: NotServed = None
    function_call: NotServed = None

    @property
    def for_template(self) -> dict[str, str]:
        """The message as a chat template reads it."""
        content = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        message = {"role": "system" if self.role == "developer" else self.role, "content": content}
        return message if self.name is None else {**message, "name": self.name}


class ChatRequest(OpenAIRequest):
    """The body of `POST /v1/chat/completions`.

    Attributes:
        messages: the conversation to be answered.
        max_completion_tokens: tokens at most.
        max_tokens: the same by the name that it had before.
        logprobs: whether to tell log probabilities.
        top_logprobs: how many likeliest tokens to tell at each place.
        response_format: text alone.
        modalities: text alone.
        tool_choice, function_call: `none` alone.
        tools, functions, audio, prediction, reasoning_effort, verbosity, web_search_options, store: not served.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            TOP_OF_LOGPROBS,
            ONE_LIMIT,
            examples=[{"model": MODEL, "messages": [{"role": "user", "content": "Which sport does Pelé play?"}]}],
        )
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    response_format: Annotated[
        Any, AfterValidator(_only({"type": "text"})), WithJsonSchema({"enum": [None, {"type": "text"}]})
    ] = None
    modalities: Annotated[Any, AfterValidator(_only(["text"])), WithJsonSchema({"enum": [None, ["text"]]})] = None
    tool_choice: Annotated[Any, AfterValidator(_only("none")), WithJsonSchema({"enum": [None, "none"]})] = None
    function_call: Annotated[Any, AfterValidator(_only("none")), WithJsonSchema({"enum": [None, "none"]})] = None
    tools: NotServed = None
    functions: NotServed = None
    audio: NotServed = None
    prediction: NotServed = None
    reasoning_effort: NotServed = None
    verbosity: NotServed = None
    web_search_options: NotServed = None
    store: NotServed = None
    parallel_tool_calls: NotLookedAt = None
    metadata: NotLookedAt = None
    service_tier: NotLookedAt = None
    safety_identifier: NotLookedAt = None
    prompt_cache_key: NotLookedAt = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("top_logprobs", TOP_OF_LOGPROBS)
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise PydanticCustomError("max_tokens", ONE_LIMIT)
        return self

    def sequence_inputs(self, prompt_ids: list[int], end_ids: frozenset[int]) -> list[SequenceInput]:
        """Return an input for each choice, which ends with one of `end_ids`, with consecutive seeds."""
        return [
            SequenceInput(
                prompt_ids=prompt_ids,
                max_new_tokens=self.max_completion_tokens or self.max_tokens or MAX_NEW_TOKENS,
                sampling=self.sampling(choice),
                stop=self.stop or (),
                end_ids=end_ids,
                num_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            )
            for choice in range(self.num_choices)
        ]


class LikelyToken(Described):
    """A token, its log probability, and its text in bytes; a token that is no text by itself is `token_id:<id>`.

    Attributes:
        token: its text.
        logprob: its log probability.
        bytes: its text in bytes; null for what is no text by itself.
    """

    token: str
    logprob: float
    bytes: list[int] | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, token_id: int, logprob: float) -> Self:
        """Of a token by its id."""
        text = shown(tokenizer, token_id)
        is_text = text != f"token_id:{token_id}"
        return cls(token=text, logprob=logprob, bytes=list(text.encode()) if is_text else None)


class ChosenToken(LikelyToken):
    """A token of an answer, and the likeliest ones at its place.

    Attributes:
        top_logprobs: the likeliest tokens at its place.
    """

    top_logprobs: list[LikelyToken] = Field(default=[])


class ChatLogprobs(Described):
    """Log probabilities of a content's tokens.

    Attributes:
        content: of the tokens of the content.
        refusal: always null.
    """

    content: list[ChosenToken]
    refusal: None = None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, tokens: Iterable[Token]) -> ChatLogprobs:
        """Of tokens whose log probabilities were asked for."""
        content = []
        for token in tokens:
            assert token.logprob is not None
            chosen = ChosenToken.of(tokenizer, token.id, token.logprob)
            chosen.top_logprobs = [LikelyToken.of(tokenizer, *likely) for likely in token.likeliest]
            content.append(chosen)
        return cls(content=content)


class AnswerMessage(Described):
    """What the assistant says.

    Attributes:
        role: always `assistant`.
        content: what is said.
        refusal: always null.
    """

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Described):
    """One answer.

    Attributes:
        index: its number.
        message: the answer.
        logprobs: log probabilities, where they were asked for.
        finish_reason: what ended it.
    """

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatAnswer(Described):
    """What `POST /v1/chat/completions` answers.

    Attributes:
        id: names the answer.
        object: always `chat.completion`.
        created: when it was made, in seconds since 1970.
        choices: the answers.
        usage: the tokens that it took.
    """

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str = Field(description="The model with its version, `errata@3`, whatever name it was asked by.")
    choices: list[ChatChoice]
    usage: TokenUsage


class Delta(Described):
    """What an event adds to a message: its role first, then its content."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _of_what_is_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class ChunkChoice(Described):
    """What an event adds to one answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(Described):
    """An event of `POST /v1/chat/completions` with `stream`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: TokenUsage | None = None
