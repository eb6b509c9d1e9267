"""Spreading targets over the edited layers: section 4.3 of the MEMIT paper, Eqs. 14, 15 and 20, Algorithm 1.

For each layer, ascending, on the model as edited so far:

    k = the key at the subject's last token: half from the bare prompt, half from the mean over contexts
    R = (z - h) / (layers left, this one included)
    A = (lambda C + K K^T)^-1 K
    update = R A^T
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from errata.closed_form import adjusted_keys
from errata.deltas import Delta, edited_weight
from errata.facts import Fact
from errata.hidden_states import SubjectStates
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments


def spread(
    model: EditableModel,
    facts: Sequence[Fact],
    targets: Tensor,
    contexts: Sequence[str],
    hyperparameters: Hyperparameters,
    second_moments: SecondMoments,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Delta]:
    """The update of each edited layer that brings the facts' hidden states to `targets`.

    Args:
        targets: (facts, d_model), float32.
        on_progress: called with (layers done, layers in all).

    The model is edited while this runs and is as it was when it ends, whatever happened.

    Raises:
        NotFinite: an update is not finite, or lambda C + K K^T is not positive definite.
        StatisticsError: a layer without second moments.
    """
    layers = hyperparameters.layers
    states = SubjectStates(model, facts, contexts)
    deltas: dict[int, Delta] = {}
    edited: dict[int, Tensor] = {}
    for done, layer in enumerate(layers):
        on_progress(done, len(layers))
        with model.using(edited):
            keys, outputs = states.read(layer, layers[-1])
        residuals = (targets.to(outputs.device) - outputs).double() / (len(layers) - done)
        adjusted = adjusted_keys(second_moments, layer, keys, hyperparameters.moment_weight)
        deltas[layer] = Delta.of_factors(residuals.T, adjusted.T)
        edited[layer] = edited_weight(layer, model.weight(layer), deltas[layer])
    on_progress(len(layers), len(layers))
    return deltas
