"""Copies of what decode steps read, at addresses that never change: keys and values of rows, and edited matrices."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.model import EditableModel
from errata.model.prefixes import Cache
from errata_service.engine.kv_cache import KVCache, TokenShape, as_slice


class FixedRows:
    """Keys and values of rows of one length: a copy of slots of KV caches, which is made anew only where it is stale.

    There is room for `num_tokens` tokens: for many short rows, or fewer that are longer.
    """

    def __init__(self, shape: TokenShape, num_tokens: int) -> None:
        self.num_tokens = num_tokens
        self._length = 0
        self._held: list[int | None] = []  # the stamp of what each row holds
        self._parts = {block: key[0, :, 0] for block, (key, _) in shape.blocks.items()}  # (heads, d_head)
        self._flat = {block: part.new_zeros(2, num_tokens * part.numel()) for block, part in self._parts.items()}
        self._blocks: dict[int, Tensor] = {}

    def fill(self, cache: KVCache, slots: Sequence[int], num_rows: int, length: int) -> None:
        """Let rows hold the slots of the same numbers, and the others of the first `num_rows` nothing to rely on.

        Args:
            length: positions of a row; at least as many as these slots hold.
        """
        if length != self._length:
            self._arrange(length)
        stale = [slot for slot in slots if self._held[slot] != cache.stamps[slot]]
        self._held[:num_rows] = [None] * num_rows
        if stale:
            self._copy(cache, stale)
        for slot in slots:
            self._held[slot] = cache.stamps[slot]

    def _arrange(self, length: int) -> None:
        num_rows = self.num_tokens // length
        self._length, self._held = length, [None] * num_rows
        for block, part in self._parts.items():
            used = self._flat[block][:, : num_rows * length * part.numel()]
            self._blocks[block] = used.view(2, num_rows, len(part), length, part.shape[1])

    def _copy(self, cache: KVCache, slots: list[int]) -> None:
        kept = min(self._length, cache.size[1])
        places = as_slice(slots) or torch.tensor(slots)
        for block, rows in self._blocks.items():
            stored = cache.block(block)
            rows[:, places, :, :kept] = stored[:, places, :, :kept]
            rows[:, places, :, kept:] = 0

    def write_back(self, cache: KVCache, slots: Tensor, positions: Tensor) -> None:
        """Copy the token at its position in each of these rows, (N,), into the slot of the same number."""
        for block, rows in self._blocks.items():
            cache.block(block)[:, slots, :, positions] = rows[:, slots, :, positions]

    def view(self, num_rows: int, positions: Tensor) -> "RowsView":
        """Return the cache of a step that puts a token at its position, (num_rows,), into each of the first rows."""
        blocks = {block: rows[:, :num_rows] for block, rows in self._blocks.items()}
        return RowsView(blocks, torch.arange(num_rows, device=positions.device), positions)


@dataclass(frozen=True, slots=True)
class RowsView(Cache):
    """The rows as a step sees them: all positions, of which a mask has to hide those that are not filled."""

    blocks: Mapping[int, Tensor]  # (2, rows, heads, length, d_head)
    rows: Tensor
    positions: Tensor

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write a block's new keys and values, (rows, heads, 1, d_head); return all that the rows hold."""
        all_keys, all_values = self.blocks[layer]
        all_keys[self.rows, :, self.positions] = keys[:, :, 0]
        all_values[self.rows, :, self.positions] = values[:, :, 0]
        return all_keys, all_values


class FixedMatrices:
    """A place for the edited matrices of one version at a time."""

    def __init__(self, model: EditableModel) -> None:
        self._model = model
        self._places: dict[int, Tensor] = {}
        self._held: dict[int, weakref.ref[Tensor]] = {}

    def fill(self, weights: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Copy those of a version that are not there yet; return their places by layer, always the same ones."""
        for layer, matrix in weights.items():
            if layer not in self._places:
                self._places[layer] = torch.empty_like(self._model.weight(layer))
            if layer not in self._held or self._held[layer]() is not matrix:
                self._places[layer].copy_(matrix)
                self._held[layer] = weakref.ref(matrix)
        return {layer: self._places[layer] for layer in weights}
