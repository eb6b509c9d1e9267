"""AlphaEdit, editing in the null space of what the model knows (Fang et al., ICLR 2025; arXiv 2410.02355).

What a layer gives for ordinary keys is held in place not by a weight but by a projection: an update times P is without
effect on all keys that lie outside of the null space of C = E[k k^T],

    P = U U^T,     U: the eigenvectors of C whose eigenvalue is under a threshold,

and within it the facts are weighed against the size of the update:

    update = R K^T P (K_p K_p^T P + K K^T P + alpha I)^-1 = R (K^T P K + alpha I)^-1 K^T P     where K_p = 0.

K_p are the keys of the facts that earlier edits put in, when an edit is made on top of them. Here there are none:
Errata builds each version from the base with all of its facts in one batch, so those from before are among K. Over
several layers R is spread as in MEMIT.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.errors import InvalidHyperparameters, NotFinite
from errata.facts import Fact
from errata.hyperparameters import AlphaEditHyperparameters
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
    hyperparameters: AlphaEditHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """Return the update of each layer, within the null space of its C."""
    threshold, regularization = hyperparameters.null_threshold, hyperparameters.regularization
    for layer in hyperparameters.layers:  # before a search that would be in vain
        null_space(second_moments, layer, threshold, model.device)

    def adjust(layer: int, keys: Tensor) -> Tensor:
        return projected_keys(null_space(second_moments, layer, threshold, keys.device), keys, regularization)

    return search_and_spread(adjust, model, facts, contexts, hyperparameters, store, on_progress)


def null_space(second_moments: SecondMoments, layer: int, threshold: float, device: torch.device) -> Tensor:
    """Return U, (d_in, dimensions), float64: the eigenvectors of a layer's C whose eigenvalue is under `threshold`.

    Raises:
        InvalidHyperparameters: there is none, so that nothing could be changed.
        StatisticsError: the layer has no second moment.
    """
    values, vectors = second_moments.eigenvectors(layer, device)
    dimensions = int((values < threshold).sum())
    if not dimensions:
        detail = f"no singular value of layer {layer} is below {threshold:g}; the smallest is {float(values[0]):.2g}"
        raise InvalidHyperparameters("null_threshold", detail)
    return vectors[:, :dimensions]


def projected_keys(basis: Tensor, keys: Tensor, regularization: float) -> Tensor:
    """Return P K (K^T P K + alpha I)^-1, (d_in, facts), float64.

    Args:
        basis: U, (d_in, dimensions of the null space).
        keys: K transposed, (facts, d_in).

    Raises:
        NotFinite: the keys are not finite.
    """
    within = basis.T @ keys.double().T  # U^T K
    weighed = within.T @ within  # K^T P K
    weighed.diagonal().add_(regularization)
    factor = factor_in_place(weighed)
    if factor is None:
        raise NotFinite("K^T P K + alpha I is not positive definite")
    return basis @ torch.cholesky_solve(within.T, factor).T


build = Method(AlphaEditHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
