"""EMMET, MEMIT's objective under equality constraints (Gupta, Sajnani, Anumanchipalli 2024; arXiv 2403.14236).

ROME for a batch: of all updates after which each fact holds, W' K = V, the one that changes least of what the layer
gives for ordinary keys, weighed by C = E[k k^T]:

    update = R (K^T C^-1 K + alpha I)^-1 K^T C^-1,     R = V - W K.

The damping alpha is for facts whose keys are nearly alike, by which K^T C^-1 K is nearly singular; one fact alone needs
none, and is then ROME's. Where alpha is small against K^T C^-1 K, whose diagonal is about d_in, the facts hold; by the
push-through identity the same alpha in the place of MEMIT's lambda would give the same update, so the two are the ends
of one scale. Over several layers R is spread as in MEMIT.
"""

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.hyperparameters import EmmetHyperparameters
from errata.methods.closed_form import decorrelated_keys, factored
from errata.methods.method import Inputs, Method
from errata.methods.spread import search_targets, spread
from errata.second_moments import SecondMoments


def find_updates(inputs: Inputs[EmmetHyperparameters]) -> dict[int, Delta]:
    """Return the update of each layer that brings all facts to their targets."""
    moments, damping = inputs.second_moments, inputs.hyperparameters.damping
    targets = search_targets(inputs)
    return spread(inputs, targets, lambda layer, keys: constrained_keys(moments, layer, keys, damping))


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
    otherwise = f"K^T C^-1 K + alpha I is not positive definite: the damping of {damping:g} is too small"
    factor = factored(constraints, otherwise)
    return torch.cholesky_solve(decorrelated.T, factor).T


build = Method(EmmetHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
