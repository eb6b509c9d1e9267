"""Spreading targets over the edited layers: section 4.3 of the MEMIT paper, Eqs. 14, 15 and 20, Algorithm 1.

For each layer, ascending, on the model as edited so far:

    k = the key at the subject's last token: half from the bare prompt, half from the mean over contexts
    R = (z - h) / (layers left, this one included)
    A = (lambda C + K K^T)^-1 K
    update = R A^T
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from errata.deltas import Delta, edited_weight
from errata.errors import NotFinite
from errata.facts import Fact
from errata.hidden_states import subject_states
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.prompts import subject_prompt
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
    """
    layers = hyperparameters.layers
    prompts = [
        subject_prompt(model.tokenizer, fact.template, fact.subject, context=context)
        for fact in facts
        for context in ("", *contexts)
    ]
    deltas: dict[int, Delta] = {}
    edited: dict[int, Tensor] = {}
    for done, layer in enumerate(layers):
        on_progress(done, len(layers))
        with model.using(edited):
            keys, outputs = subject_states(model, prompts, key_layer=layer, output_layer=layers[-1])
        rows = 1 + len(contexts)
        bare_outputs = outputs[::rows]  # (facts, d_model)
        residuals = (targets.to(outputs.device) - bare_outputs).double() / (len(layers) - done)
        averaged = _averaged_keys(keys.view(len(facts), rows, -1))
        adjusted = solve(second_moments.moment(layer).to(keys.device), averaged, hyperparameters.moment_weight)
        deltas[layer] = Delta.of_factors(residuals.T, adjusted.T)
        edited[layer] = edited_weight(model, layer, deltas[layer])
    on_progress(len(layers), len(layers))
    return deltas


def solve(second_moment: Tensor, keys: Tensor, moment_weight: float) -> Tensor:
    """A = (lambda C + K K^T)^-1 K in float64, by Cholesky.

    Args:
        second_moment: C, (d_in, d_in).
        keys: K transposed, (facts, d_in).
        moment_weight: lambda.

    Returns:
        A, (d_in, facts), float64.

    Raises:
        NotFinite: the matrix is not positive definite.
    """
    columns = keys.double().T  # K, (d_in, facts)
    factor, failed = torch.linalg.cholesky_ex(moment_weight * second_moment.double() + columns @ columns.T)
    if int(failed):
        raise NotFinite(
            "lambda C + K K^T is not positive definite: lambda is too small for second moments of so few key vectors"
        )
    return torch.cholesky_solve(columns, factor)


def _averaged_keys(keys: Tensor) -> Tensor:
    """(facts, rows, d_in) -> (facts, d_in): the bare prompt weighs as much as all contexts together."""
    if keys.shape[1] == 1:
        return keys[:, 0]
    return keys[:, 0] / 2 + keys[:, 1:].mean(dim=1) / 2
