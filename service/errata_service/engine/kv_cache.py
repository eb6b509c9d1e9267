"""The KV cache of a batch: keys and values written in place and read without a copy.

Each sequence has a slot in one tensor for each block. A transformers model accepts any object with `update` as its
cache: it passes the keys and values of new tokens and attends to what it gets back.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from errata.model.prefixes import Cache

# (number of slots, tokens in each)
Size = tuple[int, int]

_stamps = itertools.count()


@dataclass(frozen=True, slots=True)
class TokenShape:
    """The shape of what one token leaves in the cache: keys and values of each block, (1, heads, 1, d_head)."""

    blocks: Mapping[int, tuple[Tensor, Tensor]]

    def num_bytes(self, size: Size) -> int:
        """Return the memory that a cache of this size takes."""
        return size[0] * size[1] * sum(part.nbytes for parts in self.blocks.values() for part in parts)


class KVCache:
    """Keys and values of up to `size[0]` sequences of up to `size[1]` tokens each.

    Unused slots are zero. Masked positions have no weight in the attention, but a NaN that an earlier sequence left
    there would spread all the same.

    Attributes:
        size: number of slots, and of tokens in each.
        stamps: a number for each slot that no other content of any slot has had; who keeps a copy of a slot knows by
            it whether that is still what the slot holds.
    """

    def __init__(self, shape: TokenShape) -> None:
        """Begin with no slots; see `resize`."""
        self._shape = shape
        self._blocks: dict[int, Tensor] = {}
        self.size: Size = (0, 0)
        self.stamps: list[int] = []

    def resize(self, size: Size) -> None:
        """Allocate the cache anew, and copy what fits into both."""
        slots, kept = min(self.size[0], size[0]), min(self.size[1], size[1])
        for block, (part, _) in self._shape.blocks.items():
            fresh = part.new_zeros(2, size[0], part.shape[1], size[1], part.shape[3])
            if slots and kept:
                fresh[:, :slots, :, :kept] = self._blocks[block][:, :slots, :, :kept]
            self._blocks[block] = fresh
        self.stamps = [*self.stamps[:slots], *(next(_stamps) for _ in range(slots, size[0]))]
        self.size = size

    def move(self, slot: int, to: int) -> None:
        """Overwrite slot `to` with another slot."""
        for block in self._blocks.values():
            block[:, to] = block[:, slot]
        self.stamps[to] = self.stamps[slot]

    def clear(self, slot: int) -> None:
        """Zero a slot."""
        for block in self._blocks.values():
            block[:, slot] = 0
        self.note_written(slot)

    def note_written(self, slot: int) -> None:
        """Give a slot another stamp, since what it holds is about to change."""
        self.stamps[slot] = next(_stamps)

    def block(self, block: int) -> Tensor:
        """Return a block's keys and values, (2, slots, heads, length, d_head)."""
        return self._blocks[block]


@dataclass(slots=True)
class CacheView(Cache):
    """The cache as one run of the model sees it.

    Attributes:
        slots: the slots that run; a slice if they are adjacent, so that nothing is copied.
        token_slots, token_positions: where each new token goes, (N,).
        tokens: indices of these tokens in the padded input, counted slot by slot, (N,); None if nothing is padding.
        length: number of positions to attend to.
    """

    cache: KVCache
    slots: slice | Tensor
    token_slots: Tensor
    token_positions: Tensor
    tokens: Tensor | None
    length: int
    _elsewhere: dict[torch.device, CacheView] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cache: KVCache,
        slots: Sequence[int],
        num_new: Sequence[int],
        num_cached: Sequence[int],
        device: torch.device,
    ) -> CacheView:
        """View `slots`, each with its number of new tokens after those that it holds already."""
        for slot in itertools.compress(slots, num_new):
            cache.note_written(slot)
        width = max(num_new)
        places = [
            (index * width + step, slot, start + step)
            for index, (slot, count, start) in enumerate(zip(slots, num_new, num_cached, strict=True))
            for step in range(count)
        ]
        tokens, token_slots, token_positions = torch.tensor(places, device=device).unbind(1)
        return cls(
            cache=cache,
            slots=as_slice(slots) or torch.tensor(slots, device=device),
            token_slots=token_slots,
            token_positions=token_positions,
            tokens=None if len(places) == len(slots) * width else tokens,
            length=max(start + count for count, start in zip(num_new, num_cached, strict=True) if count),
        )

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write a block's new keys and values, (slots, heads, S, d_head); return all that the slots hold."""
        stored_keys, stored_values = self.cache.block(layer)
        view = self._on(stored_keys.device)
        view._write(stored_keys, keys)
        view._write(stored_values, values)
        return stored_keys[view.slots, :, : self.length], stored_values[view.slots, :, : self.length]

    def _on(self, device: torch.device) -> CacheView:
        """Return this view for blocks on a device, to which slots and places are brought once."""
        if device == self.token_slots.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = replace(
                self,
                slots=self.slots if isinstance(self.slots, slice) else self.slots.to(device),
                token_slots=self.token_slots.to(device),
                token_positions=self.token_positions.to(device),
                tokens=None if self.tokens is None else self.tokens.to(device),
            )
        return self._elsewhere[device]

    def _write(self, stored: Tensor, new: Tensor) -> None:
        tokens = new.transpose(1, 2).flatten(0, 1)  # (slots * S, heads, d_head)
        stored[self.token_slots, :, self.token_positions] = tokens if self.tokens is None else tokens[self.tokens]


def as_slice(slots: Sequence[int]) -> slice | None:
    """Return the slots as a slice if they are adjacent and in order."""
    first, last = slots[0], slots[-1]
    return slice(first, last + 1) if list(slots) == list(range(first, last + 1)) else None
