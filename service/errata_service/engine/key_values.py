"""The keys and values of rows that are computed together: written in place, read without a copy.

A transformers model takes any object with `update` as its cache: it hands over the keys and values of new tokens and
goes on with those that it gets back. Here each row has a place of its own in one tensor for each block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.model import EditableModel
from errata.model.prefixes import Recording, causal_mask, run_blocks
from errata.model.tokens import padded


@dataclass(frozen=True, slots=True)
class Shape:
    """What one token leaves in the cache: for each block, keys and values, (1, heads, 1, d_head)."""

    token: Mapping[int, tuple[Tensor, Tensor]]

    @classmethod
    @torch.inference_mode()
    def of(cls, model: EditableModel) -> Shape:
        """Run one token through the model and see."""
        cache, position = Recording(), torch.zeros(1, 1, dtype=torch.long, device=model.device)
        hidden = model.embed(position)
        mask = causal_mask(position, position, hidden.dtype)
        run_blocks(model.blocks(0, model.num_layers), hidden, position, mask, cache)
        return cls(cache.recorded)

    @property
    def bytes_per_token(self) -> int:
        """Memory that a token takes, over all blocks."""
        return sum(part.nbytes for parts in self.token.values() for part in parts)


class KeyValues:
    """Room for the keys and values of `num_rows` rows of `length` tokens each.

    Where no row is, it is zero: a masked place has no weight in the attention, but a not-a-number there, left by an
    earlier row, would be one all the same.
    """

    def __init__(self, model: EditableModel, shape: Shape) -> None:
        """No room yet: see `resize`."""
        self._model = model
        self._all_blocks = model.blocks(0, model.num_layers)
        self._shape = shape
        self._blocks: dict[int, tuple[Tensor, Tensor]] = {}
        self.num_rows = 0
        self.length = 0

    def resize(self, num_rows: int, length: int) -> None:
        """Lay the room anew, with all that is in the part that old and new room share."""
        rows, kept = min(self.num_rows, num_rows), min(self.length, length)
        for block, parts in self._shape.token.items():
            laid = []
            for index, part in enumerate(parts):
                fresh = part.new_zeros(num_rows, part.shape[1], length, part.shape[3])
                if rows and kept:
                    fresh[:rows, :, :kept] = self._blocks[block][index][:rows, :, :kept]
                laid.append(fresh)
            self._blocks[block] = (laid[0], laid[1])
        self.num_rows, self.length = num_rows, length

    def move(self, row: int, to: int) -> None:
        """Put one row's keys and values in the place of another's."""
        for parts in self._blocks.values():
            for part in parts:
                part[to] = part[row]

    def clear(self, row: int) -> None:
        """Make a row zero again."""
        for parts in self._blocks.values():
            for part in parts:
                part[row] = 0

    def run(self, rows: Sequence[int], new: Sequence[Sequence[int]], held: Sequence[int]) -> Tensor:
        """Run new tokens of some rows through the whole model, after those that the rows hold already, and keep them.

        Args:
            rows: their numbers.
            new: the new tokens of each; a row may have none and is then run for nothing, which is cheaper than to
                leave it out from between others.
            held: how many tokens each row holds already.

        Returns:
            Final hidden states, (rows, S, d_model), where S is the largest number of new tokens; those behind a
            row's own are not to be used.
        """
        model, device, width = self._model, self._model.device, max(map(len, new))
        places = [
            (index * width + step, row, start + step)
            for index, (row, ids, start) in enumerate(zip(rows, new, held, strict=True))
            for step in range(len(ids))
        ]
        tokens, at_row, at_position = torch.tensor(places, device=device).unbind(1)
        length = max(start + len(ids) for ids, start in zip(new, held, strict=True) if ids)
        positions = torch.tensor(held, device=device)[:, None] + torch.arange(width, device=device)
        hidden = model.embed(padded(new, device))
        access = Access(
            key_values=self,
            rows=_as_slice(rows) or torch.tensor(rows, device=device),
            at_row=at_row,
            at_position=at_position,
            tokens=None if len(places) == len(rows) * width else tokens,
            length=length,
        )
        return run_blocks(
            self._all_blocks,
            hidden,
            positions.clamp(max=model.max_length - 1),
            causal_mask(positions, torch.arange(length, device=device)[None], hidden.dtype),
            access,
        )

    def parts(self, block: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a block, each (rows, heads, length, d_head)."""
        return self._blocks[block]


@dataclass(slots=True)
class Access:
    """The cache of one run: new tokens of some rows go to their places, and all that these rows hold comes back.

    Attributes:
        rows: which rows run, as a slice where they lie side by side, so that nothing is copied.
        at_row, at_position: where the tokens go, (N,).
        tokens: which of the run's tokens these are, counted row by row, (N,); None for all.
        length: how far the rows are read.
    """

    key_values: KeyValues
    rows: slice | Tensor
    at_row: Tensor
    at_position: Tensor
    tokens: Tensor | None
    length: int

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        stored_keys, stored_values = self.key_values.parts(layer)
        self._write(stored_keys, keys)
        self._write(stored_values, values)
        return stored_keys[self.rows, :, : self.length], stored_values[self.rows, :, : self.length]

    def _write(self, stored: Tensor, new: Tensor) -> None:
        tokens = new.transpose(1, 2).flatten(0, 1)  # (rows * S, heads, d_head)
        stored[self.at_row, :, self.at_position] = tokens if self.tokens is None else tokens[self.tokens]


def _as_slice(rows: Sequence[int]) -> slice | None:
    """The same rows as a slice, where they lie side by side in order."""
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if list(rows) == list(range(first, last + 1)) else None
