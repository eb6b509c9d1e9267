"""A row of the batch: one task while it is computed."""

from __future__ import annotations

import time

from errata.model import EditableModel
from errata_service.engine.sampling import Sampler
from errata_service.engine.submission import Submission
from errata_service.engine.tasks import Finished, FinishReason, Piece, Read, Token
from errata_service.engine.text import GrowingText

Likelihood = tuple[float, tuple[tuple[int, float], ...]]


class Row:
    """The tokens of one task, and how far it is.

    Attributes:
        token_ids: prompt and continuation.
        num_held: of how many of them the lane holds keys and values.
        finish_reason: why it has ended, once it has.
        waited_s: seconds between its last two tokens, or, of the first one, since it was accepted.
    """

    def __init__(self, model: EditableModel, end_ids: frozenset[int], submission: Submission, index: int) -> None:
        self.submission = submission
        self.task = submission.tasks[index]
        self.token_ids = list(self.task.prompt_ids)
        self.num_held = 0
        self.finish_reason: FinishReason | None = None
        self.waited_s = 0.0
        self._model = model
        self._end_ids = end_ids
        self._index = index
        self._moved_at = submission.accepted_at
        self._room = min(self.task.max_new_tokens, model.max_length - len(self.token_ids))
        self._text = GrowingText(model.tokenizer, self.token_ids, self.task.stop)
        self._tokens: list[Token] = []
        self._prompt_likelihoods: list[Likelihood] = []
        self._prompt_tokens: list[Token] = []
        vocabulary = model.network.config.vocab_size
        self.sampler = Sampler(self.task.sampling, self.token_ids, vocabulary, model.device)

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.task.prompt_ids)

    @property
    def num_unread(self) -> int:
        """Tokens of the prompt that were not run yet."""
        return max(0, self.num_prompt_tokens - self.num_held)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be computed for it."""
        return self.finish_reason is not None or self.submission.error is not None

    @property
    def longest(self) -> int:
        """How many tokens it may come to hold."""
        return self.num_prompt_tokens + max(1, self._room)

    def read(self, num_tokens: int, likelihoods: list[Likelihood]) -> None:
        """Some more of the prompt was run, which gave the likelihoods of the tokens after these, if they were asked
        for; after the whole prompt, tokens are chosen."""
        self.num_held += num_tokens
        self._prompt_likelihoods += likelihoods
        if self.num_unread:
            return
        if self.task.prompt_logprobs:
            self._prompt_tokens = self._tokens_of_prompt()
        if self.submission.streamed:
            self.submission.tell(Read(self._index, self._prompt_tokens))
        if self._room == 0:
            self._finish("length")

    def take(self, token_id: int, likelihood: Likelihood | None) -> None:
        """Go on by a token that was chosen."""
        now = time.monotonic()
        self.waited_s, self._moved_at = now - self._moved_at, now
        self.token_ids.append(token_id)
        logprob, likeliest = likelihood or (None, ())
        token = Token(token_id, self._text.num_characters, logprob, likeliest)
        self._tokens.append(token)
        settled = self._text.add(token_id)
        if self.submission.streamed:
            self.submission.tell(Piece(self._index, settled, token))
        if self._text.stopped or token_id in self._end_ids:
            self._finish("stop")
        elif len(self._tokens) == self._room:
            self._finish("length")

    def _finish(self, reason: FinishReason) -> None:
        rest = self._text.finish()
        # What ends the text may be seen only now that nothing follows.
        self.finish_reason = "stop" if self._text.stopped else reason
        self.submission.unfinished -= 1
        self.submission.tell(
            Finished(
                index=self._index,
                text=self._text.text,
                rest=rest,
                tokens=self._tokens,
                prompt_tokens=self._prompt_tokens,
                finish_reason=self.finish_reason,
                num_prompt_tokens=self.num_prompt_tokens,
            )
        )

    def _tokens_of_prompt(self) -> list[Token]:
        first: tuple[None, tuple[tuple[int, float], ...]] = (None, ())
        prompt_ids = self.task.prompt_ids
        likelihoods = [first, *self._prompt_likelihoods]
        return [
            Token(token_id, offset, logprob, likeliest)
            for token_id, offset, (logprob, likeliest) in zip(
                prompt_ids, self.task.prompt_offsets, likelihoods, strict=True
            )
        ]
