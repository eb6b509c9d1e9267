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

import torch
from torch import Tensor

from errata.deltas import Delta
from errata.errors import InvalidHyperparameters
from errata.hyperparameters import AlphaEditHyperparameters
from errata.methods.closed_form import factored
from errata.methods.method import Inputs, Method
from errata.methods.spread import search_targets, spread
from errata.second_moments import SecondMoments


def find_updates(inputs: Inputs[AlphaEditHyperparameters]) -> dict[int, Delta]:
    """Return the update of each layer, within the null space of its C."""
    settings = inputs.hyperparameters

    def null_space_of(layer: int) -> Tensor:
        there = inputs.model.weight(layer).device
        return null_space(inputs.second_moments, layer, settings.null_threshold, there)

    for layer in settings.layers:  # before a search that would be in vain
        null_space_of(layer)
    targets = search_targets(inputs)
    return spread(
        inputs, targets, lambda layer, keys: projected_keys(null_space_of(layer), keys, settings.regularization)
    )


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
    factor = factored(weighed, "K^T P K + alpha I is not positive definite")
    return basis @ torch.cholesky_solve(within.T, factor).T


build = Method(AlphaEditHyperparameters, find_updates, one_after_another=False, searches_ahead=True)
