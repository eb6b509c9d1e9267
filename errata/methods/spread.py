"""Spreading targets over the edited layers: section 4.3 of the MEMIT paper, Eqs. 14, 15 and 20, Algorithm 1.

For each layer, ascending, on the model as edited so far:

    k = the key at the subject's last token: half from the bare prompt, half from the mean over contexts
    R = (z - h) / (layers left, this one included)
    update = R A^T

where A, what a layer makes of the keys K, is the method's own: (lambda C + K K^T)^-1 K in MEMIT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from errata.deltas import Delta, edited_weight
from errata.facts import Fact
from errata.hyperparameters import TargetHyperparameters
from errata.methods.method import OnProgress
from errata.model import EditableModel
from errata.model.hidden_states import SubjectStates
from errata.targets.base_states import base_states
from errata.targets.search import find_targets
from errata.targets.store import BuildStore

AdjustKeys = Callable[[int, Tensor], Tensor]
"""From a layer and its keys, K transposed, (facts, d_in), float32: A, (d_in, facts), float64."""


def search_and_spread(
    adjust: AdjustKeys,
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: TargetHyperparameters,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """Find the facts' targets, and return the update of each edited layer that brings hidden states to them.

    Args and errors are those of `find_targets` and `spread`.
    """
    targets = find_targets(
        model,
        facts,
        contexts,
        hyperparameters,
        store=store,
        on_progress=partial(on_progress, "targets"),
    )
    layers = hyperparameters.layers
    return spread(adjust, model, facts, targets, contexts, layers, store, partial(on_progress, "spread"))


def spread(
    adjust: AdjustKeys,
    model: EditableModel,
    facts: Sequence[Fact],
    targets: Tensor,
    contexts: Sequence[str],
    layers: Sequence[int],
    store: BuildStore | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Delta]:
    """Return the update of each of `layers` that brings the facts' hidden states to `targets`.

    Args:
        adjust: gives A of a layer; what it raises ends the spread.
        targets: (facts, d_model), float32, at the last of the layers.
        store: where what no edit can change is taken from, and kept.
        on_progress: called with (layers done, layers in all).

    The model is edited while this runs and is as it was when it ends, whatever happened.

    Raises:
        NotFinite: an update is not finite.
    """
    deltas: dict[int, Delta] = {}
    on_progress(0, len(layers))
    for layer, written in write_layers(adjust, model, facts, targets, contexts, layers, store):
        deltas[layer] = written.delta
        on_progress(len(deltas), len(layers))
    return deltas


@dataclass(frozen=True, slots=True)
class Written:
    """One layer as it is written.

    Attributes:
        keys: K transposed, (facts, d_in), float32.
        outputs: h before the layer is written, (facts, d_model), float32.
        residuals: R, (d_model, facts), float64.
        adjusted: A, (d_in, facts), float64.
        delta: R A^T.
    """

    keys: Tensor
    outputs: Tensor
    residuals: Tensor
    adjusted: Tensor
    delta: Delta


def write_layers(
    adjust: AdjustKeys,
    model: EditableModel,
    facts: Sequence[Fact],
    targets: Tensor,
    contexts: Sequence[str],
    layers: Sequence[int],
    store: BuildStore | None = None,
) -> Iterator[tuple[int, Written]]:
    """Yield each of `layers` as it is written, with those before it written. Args and errors: see `spread`."""
    states = SubjectStates(model, facts, contexts)
    edited: dict[int, Tensor] = {}
    for done, layer in enumerate(layers):
        with model.using(edited):
            if store is not None and not edited:
                keys, outputs = base_states(states, layer, layers[-1], store)
            else:
                keys, outputs = states.read(layer, layers[-1])
        residuals = (targets.to(outputs.device) - outputs).double().T / (len(layers) - done)
        adjusted = adjust(layer, keys)
        delta = Delta.of_factors(residuals, adjusted.T)
        yield layer, Written(keys, outputs, residuals, adjusted, delta)
        edited[layer] = edited_weight(layer, model.weight(layer), delta)
