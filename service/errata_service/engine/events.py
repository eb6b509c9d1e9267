"""What the engine tells of a request while it computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token at its place.

    Attributes:
        offset: number of characters of text before it, in the prompt or in the continuation.
        logprob: natural log of the probability that the model gave it, before temperature and penalties; None if it
            was not requested, and for the first token of a prompt.
        likeliest: (token id, log probability) of the likeliest tokens, the likeliest one first.
    """

    id: int
    offset: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """The token's own id and those of the likeliest tokens."""
        return (self.id, *(token_id for token_id, _ in self.likeliest))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The version's weights are loaded, and the request's sequences are queued. This event comes first."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The prompt of sequence `index` was computed. `tokens` are its tokens, if log probabilities were requested."""

    index: int
    tokens: Sequence[Token]


@dataclass(frozen=True, slots=True)
class NewToken:
    """Sequence `index` grew by `token`, and its text by `text`.

    `text` is empty while a character is incomplete or while the text may become a stop text. Later tokens bring what
    was held back.
    """

    index: int
    text: str
    token: Token


@dataclass(frozen=True, slots=True)
class Finished:
    """Sequence `index` has ended. The `NewToken` events before it make up `text`, except for `rest` at its end."""

    index: int
    text: str
    rest: str
    tokens: Sequence[Token]
    prompt_tokens: Sequence[Token]
    finish_reason: FinishReason
    num_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The request failed, for the reason `error`. Nothing follows."""

    error: Exception


Event = Accepted | Prefilled | NewToken | Finished | Failed
