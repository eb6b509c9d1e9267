"""EMMET, MEMIT's objective under equality constraints (Gupta, Sajnani, Anumanchipalli 2024; arXiv 2403.14236).

ROME for a batch: of all updates after which each fact holds, W' K = V, the one that changes least of what the layer
gives for ordinary keys, weighed by C = E[k k^T]:

    update = R (K^T C^-1 K + alpha I)^-1 K^T C^-1,     R = V - W K.

The damping alpha is for facts whose keys are nearly alike, by which K^T C^-1 K is nearly singular; one fact alone needs
none, and is then ROME's. Where alpha is small against K^T C^-1 K, whose diagonal is about d_in, the facts hold; by the
push-through identity the same alpha in the place of MEMIT's lambda would give the same update, so the two are the ends
of one scale. Over several layers R is spread as in MEMIT.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.errors import NotFinite
from errata.facts import Fact
from errata.hyperparameters import EmmetHyperparameters
from errata.methods.closed_form import decorrelated_keys
from errata.methods.method import Method, OnProgress
from errata.methods.spread import search_and_spread
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.factor import factor_in_place
from errata.targets.store import BuildStore


def find_updates(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: EmmetHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """Return the update of each layer that brings all facts to their targets."""

    def adjust(layer: int, keys: Tensor) -> Tensor:
        return constrained_keys(second_moments, layer, keys, hyperparameters.damping)

    return search_and_spread(adjust, model, facts, contexts, hyperparameters, store, on_progress)


def constrained_keys(second_moments: SecondMoments, layer: int, keys: Tensor, damping: float) -> Tensor:
    """Return C^-1 K (K^T C^-1 K + alpha I)^-1 of one layer, (d_in, facts), float64.

    Args:
        keys: K transposed, (facts, d_in).

    Raises:
        NotFinite: the facts' keys are too much alike for so little damping.
        StatisticsError: the layer has no second moment, or one that is not positive definite.
    """
    decorrelated = decorrelated_keys(second_moments, layer, keys)  # C^-1 K, (d_in, facts)
    constraints = keys.double() @ decorrelated
    if len(keys) > 1:
        constraints.diagonal().add_(damping)
    factor = factor_in_place(constraints)
    if factor is None:
        raise NotFinite(f"K^T C^-1 K + alpha I is not positive definite: the damping of {damping:g} is too small")
    return torch.cholesky_solve(decorrelated.T, factor).T


build = Method(EmmetHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
