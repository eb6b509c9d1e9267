"""What the engine is asked to do, and what it tells of it while it does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen: greedily where `temperature` is 0. `seed` None draws anew each time."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One prompt to be continued once.

    Attributes:
        prompt_ids: at least one token, and none more than the model's context has.
        max_new_tokens: how many tokens are chosen at most; the end of the context may come before.
        stop: texts before which the continuation ends.
        num_logprobs: with each token, its log probability and those of so many likeliest ones; None gives neither.
        prompt_logprobs: whether the prompt's tokens get theirs, too.
        prompt_offsets: where the text of each token of the prompt begins, which is wanted then.
    """

    prompt_ids: Sequence[int]
    max_new_tokens: int
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    num_logprobs: int | None = None
    prompt_logprobs: bool = False
    prompt_offsets: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A token at its place.

    Attributes:
        offset: how many characters of text lie before it, in the prompt or in the continuation.
        logprob: natural log of the probability that the model gave it, before temperature and the like; None where it
            was not asked for, and for the first token of a prompt, before which there is nothing.
        likeliest: (token id, log probability), the likeliest one first.
    """

    id: int
    offset: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """Its own, and those of the likeliest ones."""
        return (self.id, *(token_id for token_id, _ in self.likeliest))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The version's weights are there, and the tasks wait for their turn. It comes first."""


@dataclass(frozen=True, slots=True)
class Read:
    """The prompt of task `index` was read. `tokens` are its tokens, where their log probabilities were asked for."""

    index: int
    tokens: Sequence[Token]


@dataclass(frozen=True, slots=True)
class Piece:
    """Task `index` goes on by `token`, which makes `text` certain: none where a character is not whole yet or where
    it may become a stop text, more than the token's own where that has been settled."""

    index: int
    text: str
    token: Token


@dataclass(frozen=True, slots=True)
class Finished:
    """Task `index` has ended. The pieces before it make `text` but for its last `rest` characters."""

    index: int
    text: str
    rest: str
    tokens: Sequence[Token]
    prompt_tokens: Sequence[Token]
    finish_reason: FinishReason
    num_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing more comes of the submission, and this is why."""

    error: Exception


Event = Accepted | Read | Piece | Finished | Failed
