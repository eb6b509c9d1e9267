"""MEMIT from facts to updates: targets, then their spread (Meng et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from errata.build_store import BuildStore
from errata.closed_form import adjusted_keys
from errata.deltas import Delta
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.method import Method, OnProgress
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.spread import AdjustKeys, search_and_spread


def find_updates(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: MemitHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """The update of each layer that brings all facts near their targets, weighed against what the layer does."""
    adjust = weighed_keys(second_moments, hyperparameters)
    return search_and_spread(adjust, model, facts, contexts, hyperparameters, store, on_progress)


def weighed_keys(second_moments: SecondMoments, hyperparameters: MemitHyperparameters) -> AdjustKeys:
    """What MEMIT makes of a layer's keys: (lambda C + K K^T)^-1 K."""

    def adjust(layer: int, keys: Tensor) -> Tensor:
        return adjusted_keys(second_moments, layer, keys, hyperparameters.moment_weight)

    return adjust


build = Method(MemitHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
