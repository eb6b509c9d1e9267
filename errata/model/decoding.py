"""Prompts that are continued together, a token at a time, with a cache of their keys and values."""

from collections.abc import Callable, Container, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from errata.model import EditableModel

ROWS_PER_BATCH = 64  # keys and values of 64 texts of 100 tokens take 2.9 GB in GPT-J 6B at 16 bits


class Decoding:
    """Rows of tokens that grow by one at each step.

    Prompts are padded on the left, so that all end at the same place; the padding is masked.
    """

    def __init__(self, model: EditableModel, rows: Sequence[Sequence[int]]) -> None:
        """Take the token ids of each prompt, of which there must be some."""
        longest = max(map(len, rows))
        self._model = model
        self._new = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=model.device)
        self._seen = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
        self._cache = DynamicCache(config=model.network.config)

    def next_logits(self) -> Tensor:
        """Run the tokens that are new, and return the logits of what follows each row, (rows, vocabulary), float32."""
        last = self._model.max_length - 1
        positions = (self._seen.cumsum(1) - 1).clamp(0, last)  # a row that is done may run beyond
        output = self._model.network(
            input_ids=self._new,
            attention_mask=self._seen,
            position_ids=positions[:, -self._new.shape[1] :],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def append(self, tokens: Tensor) -> None:
        """Let each row go on with its token, (rows,)."""
        self._new = tokens[:, None]
        self._seen = torch.cat([self._seen, self._seen.new_ones(len(tokens), 1)], dim=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows alone."""
        kept = torch.tensor(rows)  # in main memory, from where it serves the keys and values on any device
        self._new, self._seen = self._new[kept], self._seen[kept]
        self._cache.batch_select_indices(kept)


@torch.no_grad()
def greedy_ids(
    model: EditableModel,
    prompts: Sequence[str],
    num_tokens: Sequence[int],
    is_over: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """Return the likeliest tokens after each prompt.

    Args:
        num_tokens: the most tokens after each prompt; there are fewer where the model has no room for them.
        is_over: asked after each token, with the place of the prompt and its tokens so far; True ends them there.
    """
    rows: list[list[int]] = [model.tokenizer(prompt)["input_ids"] for prompt in prompts]
    room = [min(most, model.max_length - len(row)) for row, most in zip(rows, num_tokens, strict=True)]
    found: list[list[int]] = [[] for _ in rows]
    places = sorted((place for place in range(len(rows)) if room[place] > 0), key=lambda place: len(rows[place]))
    for start in range(0, len(places), ROWS_PER_BATCH):
        going = places[start : start + ROWS_PER_BATCH]
        decoding = Decoding(model, [rows[place] for place in going])
        while going:
            tokens = decoding.next_logits().argmax(-1)
            for place, token in zip(going, tokens.tolist(), strict=True):
                found[place].append(token)
            decoding.append(tokens)
            kept = [
                row
                for row, place in enumerate(going)
                if len(found[place]) < room[place] and not is_over(place, found[place])
            ]
            if 0 < len(kept) < len(going):
                decoding.keep(kept)
            going = [going[row] for row in kept]
    return found


def text_of(model: EditableModel, ids: list[int], special: Container[int]) -> str:
    """Return the text of tokens, without the last one where that is among the special ones, which end a text."""
    return str(model.tokenizer.decode(ids[:-1] if ids and ids[-1] in special else ids))
