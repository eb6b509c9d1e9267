"""Generation: messages to answer, and completions, whole and token by token."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from errata_client.records.base import Given, Record, Text

FinishReason = Annotated[str, WithJsonSchema({"enum": ["stop", "length"], "type": "string"})]
"""What ended a completion. A newer service may have more words for it."""


class Message(Given):
    """One turn of a conversation. `content` is text, in which nothing is a control token.

    Attributes:
        role: who speaks.
        content: what is said.
    """

    role: Literal["system", "user", "assistant"]
    content: Text


class Usage(Record):
    """Tokens of the prompt, and tokens generated.

    Attributes:
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens generated.
    """

    prompt_tokens: int
    completion_tokens: int


class Completion(Record):
    """The completion of one prompt: that of messages is what the model's chat template made of them.

    `finish_reason` is `stop` where the model or a stop text ended it, `length` where there was no more room.

    Attributes:
        prompt: the prompt as it was continued.
        finish_reason: what ended it: `stop`, or `length` where there was no more room.
        usage: the tokens that it took.
    """

    prompt: str
    text: str = Field(description="The completion alone, with the space it begins with.")
    finish_reason: FinishReason
    usage: Usage


class Generation(Record):
    """One completion for each prompt, in the order of the prompts, and the version that generated them.

    Attributes:
        data: the completions.
        version: the version that generated them.
    """

    data: tuple[Completion, ...]
    version: int

    @property
    def texts(self) -> list[str]:
        """The completions' texts, one for each prompt."""
        return [completion.text for completion in self.data]

    @property
    def text(self) -> str:
        """The text for the only prompt. Raises `ValueError` where there were several: use `texts`."""
        [text] = self.texts
        return text


class TokenEvent(Record):
    """`event: token`: one more token for prompt number `index`.

    `text` is empty where a character is not whole yet, or where it may become a stop text.
    """

    index: int
    text: str
    version: int


class EndEvent(Record):
    """`event: end`: the end of prompt number `index`. `text` is what was held back; all texts together are the
    completion's."""

    index: int
    text: str
    finish_reason: FinishReason
    usage: Usage
    version: int
