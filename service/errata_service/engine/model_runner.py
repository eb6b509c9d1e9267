"""Running new tokens of many sequences through the model, over the keys and values in a cache."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from errata.model import EditableModel
from errata.model.chat import end_ids_of
from errata.model.prefixes import Recording, run_blocks
from errata.model.tokens import padded
from errata_service.engine.capture import CAPTURES, NotCapturable
from errata_service.engine.decode_graphs import DecodeGraphs
from errata_service.engine.kv_cache import CacheView, KVCache, TokenShape

# The share of a device's free memory that graphs may take at most, whatever they are given.
MOST_OF_FREE_MEMORY = 0.25

log = logging.getLogger(__name__)


class ModelRunner:
    """Runs the whole model, with a version's matrices in place of the base's.

    Attributes:
        model: the base model.
        token_shape: what one token leaves in a cache.
        end_ids: the tokens by which the model itself ends a text.
    """

    @torch.inference_mode()
    def __init__(self, model: EditableModel, *, graph_bytes: int = 0, max_rows: int = 1) -> None:
        """Run one token through the model to see its keys and values.

        Args:
            graph_bytes: memory for the keys and values of decode steps that run as graphs, where the device has them;
                0 lets none run so.
            max_rows: the most slots that are decoded at once.
        """
        self.model = model
        self.end_ids = end_ids_of(model)
        self._blocks = model.blocks(0, model.num_layers)
        cache, position = Recording(), torch.zeros(1, 1, dtype=torch.long, device=model.device)
        run_blocks(self._blocks, model.embed(position), position, model.causal_mask(position, position), cache)
        self.token_shape = TokenShape(cache.recorded)
        self._graphs = self._decode_graphs(graph_bytes, max_rows)

    @property
    def runs_graphs(self) -> bool:
        """True as long as decode steps that fit run as graphs."""
        return self._graphs is not None

    def _decode_graphs(self, num_bytes: int, max_rows: int) -> DecodeGraphs | None:
        """Return what decodes by graphs, or None where that is not wanted or not possible; say why not."""
        device = self.model.device
        if device.type not in CAPTURES or not num_bytes:
            return None
        try:
            _require_one_device(self.model)
            if device.type == "cuda":
                num_bytes = min(num_bytes, int(torch.cuda.mem_get_info(device)[0] * MOST_OF_FREE_MEMORY))
            graphs = DecodeGraphs(self.model, self._blocks, self.token_shape, num_bytes, max_rows)
        except Exception as error:
            log.warning("decode steps do not run as graphs: %s", error)
            return None
        log.info("decode steps run as graphs, over keys and values of %.1f GiB", num_bytes / 2**30)
        return graphs

    def decode(
        self, weights: Mapping[int, Tensor], cache: KVCache, token_ids: Sequence[int | None], num_cached: Sequence[int]
    ) -> Tensor:
        """Compute a token of each of the first slots after the tokens that it holds, and cache its keys and values.

        Args:
            weights: the version's edited matrices by layer.
            token_ids: the new token of each slot. None runs for nothing.
            num_cached: number of tokens that each slot holds already.

        Returns:
            Final hidden states, (slots, d_model), good until the next call.
        """
        if self._graphs is not None:
            try:
                if (hidden := self._graphs.decode(weights, cache, token_ids, num_cached)) is not None:
                    return hidden
            except Exception as error:
                log.warning("decode steps do not run as graphs any more: %s", error, exc_info=True)
                self._graphs = None
        new_ids = [[] if token_id is None else [token_id] for token_id in token_ids]
        return self.run(weights, cache, range(len(token_ids)), new_ids, num_cached)[:, 0]

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


def _require_one_device(model: EditableModel) -> None:
    """Raise `NotCapturable` where a model lies on several devices: a graph is that of one."""
    if len(devices := {str(parameter.device) for parameter in model.network.parameters()}) > 1:
        raise NotCapturable(f"the model lies on {', '.join(sorted(devices))}")
