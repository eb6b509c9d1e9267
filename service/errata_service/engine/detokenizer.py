"""Text from tokens as they come in: whole characters, and nothing that may become a stop text."""

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

# A token's text may depend on the tokens before it: some tokenizers drop the leading space of the first one.
TOKENS_BEFORE = 4
BROKEN = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Makes the text of one continuation. Special tokens make no text.

    Attributes:
        text: the text that is certain so far.
        num_characters: number of characters that the tokens make so far, with those that are held back.
        stopped: True once a stop text has come; `text` ends before it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prompt_ids: Sequence[int], stop: Sequence[str]) -> None:
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self._before = list(prompt_ids[-TOKENS_BEFORE:])
        if self._decoded(self._before).endswith(BROKEN):  # what follows may complete it, and change it
            self._before = []
        self._stream = DecodeStream(ids=self._before, skip_special_tokens=True)
        self._ids: list[int] = []
        self._stop = tuple(stop)
        self._held_back = ""
        self.text = ""
        self.num_characters = 0
        self.stopped = False

    def add(self, token_id: int) -> str:
        """Add a token; return the text that has become certain."""
        self._ids.append(token_id)
        return self._take(self._stream.step(self._backend, token_id) or "")

    def finish(self) -> str:
        """Return the text that becomes certain as no token follows: what was held back, and incomplete characters."""
        if self.stopped:
            return ""
        whole = self._decoded(self._before + self._ids).removeprefix(self._decoded(self._before))
        certain = self._take(whole[self.num_characters :])
        if self.stopped:
            return certain
        rest, self._held_back = self._held_back, ""
        self.text += rest
        return certain + rest

    def _take(self, text: str) -> str:
        self.num_characters += len(text)
        if not self._stop:
            self.text += text
            return text
        pending = self._held_back + text
        places = [place for stop in self._stop if (place := pending.find(stop)) >= 0]
        if places:
            self.stopped = True
            certain, self._held_back = pending[: min(places)], ""
        else:
            end = len(pending) - max(_begun(pending, stop) for stop in self._stop)
            certain, self._held_back = pending[:end], pending[end:]
        self.text += certain
        return certain

    def _decoded(self, token_ids: list[int]) -> str:
        return str(self._backend.decode(token_ids, skip_special_tokens=True))


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` are the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
