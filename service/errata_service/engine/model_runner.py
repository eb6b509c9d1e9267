"""Running new tokens of many sequences through the model, over the keys and values in a cache."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from errata.model import EditableModel
from errata.model.chat import end_ids_of
from errata.model.prefixes import Recording, run_blocks
from errata.model.tokens import padded
from errata_service.engine.kv_cache import CacheView, KVCache, TokenShape


class ModelRunner:
    """Runs the whole model, with a version's matrices in place of the base's.

    Attributes:
        model: the base model.
        token_shape: what one token leaves in a cache.
        end_ids: the tokens by which the model itself ends a text.
    """

    @torch.inference_mode()
    def __init__(self, model: EditableModel) -> None:
        """Run one token through the model to see its keys and values."""
        self.model = model
        self.end_ids = end_ids_of(model)
        self._blocks = model.blocks(0, model.num_layers)
        cache, position = Recording(), torch.zeros(1, 1, dtype=torch.long, device=model.device)
        run_blocks(self._blocks, model.embed(position), position, model.causal_mask(position, position), cache)
        self.token_shape = TokenShape(cache.recorded)

    def run(
        self,
        weights: Mapping[int, Tensor],
        cache: KVCache,
        slots: Sequence[int],
        new_ids: Sequence[Sequence[int]],
        num_cached: Sequence[int],
    ) -> Tensor:
        """Compute new tokens of some slots after the tokens that the slots hold, and cache their keys and values.

        Args:
            weights: the version's edited matrices by layer.
            new_ids: the new tokens of each slot. A slot may have none: it then runs for nothing, which is cheaper than
                leaving it out from between others.
            num_cached: number of tokens that each slot holds already.

        Returns:
            Final hidden states, (slots, S, d_model), where S is the largest number of new tokens. Those after a slot's
            last new token are meaningless.
        """
        model, device, num_new = self.model, self.model.device, [len(ids) for ids in new_ids]
        view = CacheView.of(cache, slots, num_new, num_cached, device)
        positions = torch.tensor(num_cached, device=device)[:, None] + torch.arange(max(num_new), device=device)
        hidden = model.embed(padded(new_ids, device))
        mask = model.causal_mask(positions, torch.arange(view.length, device=device)[None])
        with model.using(weights):
            return run_blocks(self._blocks, hidden, positions.clamp(max=model.max_length - 1), mask, view)
