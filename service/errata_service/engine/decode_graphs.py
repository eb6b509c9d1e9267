"""Decode steps over fixed shapes, each captured once as a graph and then replayed.

A step of one row launches some two thousand kernels, and launching them takes a CPU longer than computing them takes a
GPU. A graph launches them all at once, but only over the very tensors over which it was captured. So such a step runs
over tensors of its own (`fixed_rows`): the newest tokens, padded to 1, 2, 4, 8, … rows; their keys and values, 64, 128,
256, … positions for each row; and the edited matrices of the version at hand, which are copied in when that is another
than in the step before. What a step adds goes back into the batch's KV cache, which is whole at any time, so that all
else goes by it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from errata.model import EditableModel
from errata.model.prefixes import run_blocks
from errata_service.engine.capture import CAPTURES, NotCapturable, require_capturable
from errata_service.engine.fixed_rows import FixedMatrices, FixedRows
from errata_service.engine.kv_cache import KVCache, TokenShape

SHORTEST = 64  # positions
MOST_GRAPHS = 96  # all numbers of rows and lengths that fit, for the base and one set of edited layers

# Number of rows, positions in each, edited layers.
Shape = tuple[int, int, tuple[int, ...]]


class DecodeGraphs:
    """Decode steps of a model as graphs, one for each shape, captured when it first comes."""

    def __init__(
        self, model: EditableModel, blocks: nn.Module, token_shape: TokenShape, num_bytes: int, max_rows: int
    ) -> None:
        """Take memory for the keys and values of as many tokens as `num_bytes` hold, and for rows up to `max_rows`.

        Args:
            blocks: all blocks of the model (see `EditableModel.blocks`).

        Raises:
            NotCapturable: a graph cannot hold the model's step, or there is no room for a row.
        """
        self._model, self._blocks = model, blocks
        num_tokens = num_bytes // token_shape.num_bytes((1, 1))
        if num_tokens < SHORTEST:
            raise NotCapturable(f"there is room for {num_tokens} tokens, and a row takes {SHORTEST}")
        self._rows = FixedRows(token_shape, num_tokens)
        self._matrices = FixedMatrices(model)
        # In each row of the step its token and position, then those rows that count and their positions once more.
        self._inputs = torch.zeros(4, _bucket(max_rows, 1), dtype=torch.long, device=model.device)
        [d_model] = model.embed(self._inputs[0, 0]).shape
        self._hidden = torch.zeros(self._inputs.shape[1], d_model, dtype=model.network.dtype, device=model.device)
        self._capture = CAPTURES[model.device.type](model.device)
        self._replays: dict[Shape, Callable[[], object]] = {}
        self._rehearse(token_shape)

    def _rehearse(self, token_shape: TokenShape) -> None:
        cache = KVCache(token_shape)
        cache.resize((1, SHORTEST))
        self._rows.fill(cache, [], 1, SHORTEST)
        with require_capturable():
            self._step((1, SHORTEST, ()), {})

    def decode(
        self, weights: Mapping[int, Tensor], cache: KVCache, token_ids: Sequence[int | None], num_cached: Sequence[int]
    ) -> Tensor | None:
        """Do what `ModelRunner.decode` does; return None, with nothing done, where there is no room for these rows."""
        slots = [slot for slot, token_id in enumerate(token_ids) if token_id is not None]
        positions = [num_cached[slot] for slot in slots]
        num_rows, length = _bucket(len(token_ids), 1), _bucket(max(positions) + 1, SHORTEST)
        if num_rows > self._inputs.shape[1] or num_rows * length > self._rows.num_tokens:
            return None
        inputs = torch.zeros(4, num_rows, dtype=torch.long)
        inputs[0, slots] = torch.tensor([token_id for token_id in token_ids if token_id is not None])
        inputs[1, slots] = inputs[3, : len(slots)] = torch.tensor(positions)
        inputs[2, : len(slots)] = torch.tensor(slots)
        self._inputs[:, :num_rows].copy_(inputs)
        self._rows.fill(cache, slots, num_rows, length)
        matrices = self._matrices.fill(weights)
        self._replay((num_rows, length, tuple(sorted(matrices))), matrices)
        self._rows.write_back(cache, self._inputs[2, : len(slots)], self._inputs[3, : len(slots)])
        return self._hidden[: len(token_ids)]

    def _replay(self, shape: Shape, matrices: Mapping[int, Tensor]) -> None:
        if shape not in self._replays:
            if len(self._replays) == MOST_GRAPHS:
                del self._replays[next(iter(self._replays))]
            self._replays[shape] = self._capture(lambda: self._step(shape, matrices))
        self._replays[shape]()

    def _step(self, shape: Shape, matrices: Mapping[int, Tensor]) -> None:
        """Compute the tokens in `_inputs`; leave their final hidden states in `_hidden`."""
        model, (num_rows, length, _) = self._model, shape
        token_ids, positions = self._inputs[0, :num_rows, None], self._inputs[1, :num_rows, None]
        mask = model.causal_mask(positions, torch.arange(length, device=model.device)[None])
        view = self._rows.view(num_rows, positions[:, 0])
        with model.using(matrices):
            hidden = run_blocks(self._blocks, model.embed(token_ids), positions, mask, view)
        self._hidden[:num_rows] = hidden[:, 0]


def _bucket(number: int, least: int) -> int:
    """Return the first of `least`, twice that, four times that, … that is not below a number."""
    return max(least, 1 << (number - 1).bit_length())
