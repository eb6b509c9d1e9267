"""MEMIT (Meng et al., ICLR 2023): targets, their spread over the layers, and refinement if it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from errata.deltas import Delta
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.methods.closed_form import adjusted_keys
from errata.methods.method import Method, OnProgress
from errata.methods.refinement import refine
from errata.methods.spread import AdjustKeys, search_and_spread, write_layers
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.targets.search import find_targets
from errata.targets.store import BuildStore


def find_updates(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: MemitHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """Return the update of each layer that brings all facts near their targets, weighed against what the layer does."""
    adjust = weighed_keys(second_moments, hyperparameters)
    if hyperparameters.refinement_steps == 0:
        return search_and_spread(adjust, model, facts, contexts, hyperparameters, store, on_progress)
    targets = find_targets(
        model, facts, contexts, hyperparameters, store=store, on_progress=partial(on_progress, "targets")
    )
    written = write_layers(adjust, model, facts, targets, contexts, hyperparameters.layers, store)
    return refine(model, facts, contexts, hyperparameters, second_moments, written, partial(on_progress, "spread"))


def weighed_keys(second_moments: SecondMoments, hyperparameters: MemitHyperparameters) -> AdjustKeys:
    """Return the function that gives MEMIT's (lambda C + K K^T)^-1 K of a layer's keys."""

    def adjust(layer: int, keys: Tensor) -> Tensor:
        return adjusted_keys(second_moments, layer, keys, hyperparameters.moment_weight)

    return adjust


build = Method(MemitHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
