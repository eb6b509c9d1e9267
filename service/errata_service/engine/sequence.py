"""A sequence: the tokens of one prompt and its continuation while they are computed."""

import time

from errata.model import EditableModel
from errata_service.engine.detokenizer import Detokenizer
from errata_service.engine.events import Finished, FinishReason, NewToken, Prefilled, Token
from errata_service.engine.request import Request
from errata_service.engine.sampling import Logprobs, Sampler


class Sequence:
    """The tokens of one prompt and its continuation, and how far they are computed.

    Attributes:
        request: the request to which it belongs.
        input: the prompt, and how to continue it.
        token_ids: prompt and continuation.
        num_cached: number of tokens whose keys and values are in the batch's cache.
        sampler: chooses its tokens.
        finish_reason: why it ended; None before.
        latency_s: seconds between the last two tokens, or between the request's acceptance and the first token.
    """

    def __init__(self, model: EditableModel, end_ids: frozenset[int], request: Request, index: int) -> None:
        """Begin the request's sequence number `index`. Tokens in `end_ids` end the text."""
        self.request = request
        self.input = request.inputs[index]
        self.token_ids = list(self.input.prompt_ids)
        self.num_cached = 0
        self.finish_reason: FinishReason | None = None
        self.latency_s = 0.0
        vocabulary = model.network.config.vocab_size
        self.sampler = Sampler(self.input.sampling, self.token_ids, vocabulary, model.device)
        self._end_ids = end_ids | self.input.end_ids
        self._index = index
        self._last_token_at = request.accepted_at
        self._max_new_tokens = min(self.input.max_new_tokens, model.max_length - len(self.token_ids))
        self._detokenizer = Detokenizer(model.tokenizer, self.token_ids, self.input.stop)
        self._tokens: list[Token] = []
        self._prompt_logprobs: list[Logprobs] = []
        self._prompt_tokens: list[Token] = []

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.input.prompt_ids)

    @property
    def num_to_prefill(self) -> int:
        """Number of prompt tokens that are not computed yet."""
        return max(0, self.num_prompt_tokens - self.num_cached)

    @property
    def has_ended(self) -> bool:
        """Return True if there is nothing more to compute."""
        return self.finish_reason is not None or self.request.error is not None

    @property
    def max_length(self) -> int:
        """Number of tokens for which the cache needs room."""
        return self.num_prompt_tokens + max(1, self._max_new_tokens)

    def note_prefilled(self, num_tokens: int, logprobs: list[Logprobs]) -> None:
        """Count prompt tokens as computed. `logprobs` are those of the prompt tokens after these, if requested."""
        self.num_cached += num_tokens
        self._prompt_logprobs += logprobs
        if self.num_to_prefill:
            return
        if self.input.prompt_logprobs:
            self._prompt_tokens = self._tokens_of_prompt()
        if self.request.streamed:
            self.request.tell(Prefilled(self._index, self._prompt_tokens))
        if self._max_new_tokens == 0:
            self._finish("length")

    def append(self, token_id: int, logprobs: Logprobs | None) -> None:
        """Append a chosen token, tell of it, and finish the sequence if it was the last."""
        now = time.monotonic()
        self.latency_s, self._last_token_at = now - self._last_token_at, now
        self.token_ids.append(token_id)
        logprob, likeliest = logprobs or (None, ())
        token = Token(token_id, self._detokenizer.num_characters, logprob, likeliest)
        self._tokens.append(token)
        ends = token_id in self._end_ids  # which is no text, also where the tokenizer does not call it special
        text = "" if ends else self._detokenizer.add(token_id)
        if self.request.streamed:
            self.request.tell(NewToken(self._index, text, token))
        if self._detokenizer.stopped or ends:
            self._finish("stop")
        elif len(self._tokens) == self._max_new_tokens:
            self._finish("length")

    def _finish(self, reason: FinishReason) -> None:
        rest = self._detokenizer.finish()
        # A stop text may be recognised only now that no token follows.
        self.finish_reason = "stop" if self._detokenizer.stopped else reason
        self.request.num_unfinished -= 1
        self.request.tell(
            Finished(
                index=self._index,
                text=self._detokenizer.text,
                rest=rest,
                tokens=self._tokens,
                prompt_tokens=self._prompt_tokens,
                finish_reason=self.finish_reason,
                num_prompt_tokens=self.num_prompt_tokens,
            )
        )

    def _tokens_of_prompt(self) -> list[Token]:
        ids, offsets = self.input.prompt_ids, self.input.prompt_offsets
        first = Token(ids[0], offsets[0])  # nothing comes before it, so it has no probability
        others = zip(ids[1:], offsets[1:], self._prompt_logprobs, strict=True)
        return [first, *(Token(token_id, offset, *logprobs) for token_id, offset, logprobs in others)]
