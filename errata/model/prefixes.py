"""Run tokens after others whose keys and values were computed before."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Cache(ABC):
    """The cache that transformers is given for a run."""

    @abstractmethod
    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Take the keys and values of a block's new tokens, (rows, heads, S, d_head); return those to attend to."""

    def get_seq_length(self) -> int:
        """Return 0. Some models ask, even where they are told positions and mask, and so have no use for it."""
        return 0


class Recording(Cache):
    """A cache that records the keys and values of each block."""

    def __init__(self) -> None:
        self.recorded: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.recorded[layer] = (keys.contiguous(), values.contiguous())
        return keys, values


class AfterPrefixes(Cache):
    """A cache that puts the keys and values of prefixes before those of the rows, and keeps nothing.

    There may be several times as many rows as prefixes; row r then goes after prefix r modulo their number.
    """

    def __init__(self, prefixes: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        """Take the keys and values of each block, (prefixes, heads, P, d_head); blocks may be left out."""
        self._prefixes = prefixes

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if layer not in self._prefixes:
            return keys, values
        before_keys, before_values = self._prefixes[layer]
        return _joined(before_keys, keys), _joined(before_values, values)


def run_blocks(part: nn.Module, hidden: Tensor, positions: Tensor, mask: Tensor, cache: Cache) -> Tensor:
    """Return what leaves the last block of `part` (see `EditableModel.blocks`) where `hidden` enters its first one.

    Args:
        hidden: (rows, S, d_model).
        positions: position ids, (rows or 1, S).
        mask: added to attention scores, (rows or 1, W, S, P + S), where P positions lie before (see
            `EditableModel.causal_mask`).
    """
    output = part(
        inputs_embeds=hidden, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
    )
    return output.last_hidden_state.to(hidden.device)  # type: ignore[no-any-return]


def _joined(before: Tensor, now: Tensor) -> Tensor:
    """Join (prefixes, heads, P, d_head) and (rows, heads, S, d_head) to (rows, heads, P + S, d_head)."""
    rows = now.reshape(-1, len(before), *now.shape[1:])
    return torch.cat([before.expand(len(rows), *before.shape), rows], dim=3).flatten(0, 1)
