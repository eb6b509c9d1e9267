"""Writing targets into the edited layers: section 4.3 of the MEMIT paper, Eqs. 14, 15 and 20, Algorithm 1.

For each layer, ascending, on the model as edited so far:

    k = the key at the subject's last token: half from the bare prompt, half from the mean over contexts
    R = (z - h) / (layers left, this one included)
    update = R A^T

of what the block gives; R of its down-projection is the same but where a norm follows (`errata.methods.residuals`).
A, what a layer makes of the keys K, is the method's own: (lambda C + K K^T)^-1 K in MEMIT.

So a residual is found at the last layer, and the layers before it are written with shares of what it has to become
there. BLUE (Li et al., NeurIPS 2025, arXiv 2502.03748, section 4) finds that this is what makes updates wrong, the more
so the farther a layer is from the last. With `residuals_afresh` nothing is shared out, as there:

    z = the target at this very layer, searched for on the model as edited so far
    R = z - h, with h the output of this layer

BLUE writes the first and the last of a model's layers so. The targets of the first one are found on the base, and kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from errata.deltas import Delta, edited_weight
from errata.hyperparameters import SpreadHyperparameters
from errata.methods.method import Inputs
from errata.methods.residuals import of_down_projection
from errata.model.hidden_states import SubjectStates
from errata.targets.search import find_targets
from errata.targets.store import base_states

AdjustKeys = Callable[[int, Tensor], Tensor]
"""From a layer and its keys, K transposed, (facts, d_in), float32: A, (d_in, facts), float64."""


def search_targets(inputs: Inputs[SpreadHyperparameters]) -> Tensor:
    """Return what `find_targets` finds on the model as it is now, (facts, d_model), float32."""
    given, tell = (inputs.model, inputs.facts, inputs.contexts), partial(inputs.on_progress, "targets")
    return find_targets(*given, inputs.hyperparameters, store=inputs.store, on_progress=tell)


def spread(inputs: Inputs[SpreadHyperparameters], targets: Tensor, adjust: AdjustKeys) -> dict[int, Delta]:
    """Return the update of each layer that brings the facts' hidden states to `targets`.

    Args:
        targets: (facts, d_model), float32, at the `target_layer`.
        adjust: gives A of a layer; what it raises ends the spread.

    The model is edited while this runs and is as it was when it ends, whatever happened.

    Raises:
        NotFinite: an update is not finite.
    """
    deltas: dict[int, Delta] = {}
    _tell(inputs, 0)
    for layer, written in write_layers(inputs, targets, adjust):
        deltas[layer] = written.delta
        _tell(inputs, len(deltas))
    return deltas


@dataclass(frozen=True, slots=True)
class Written:
    """One layer as it is written."""

    keys: Tensor  # K transposed, (facts, d_in), float32
    residuals: Tensor  # R of the down-projection, (d_model, facts), float64
    adjusted: Tensor  # A, (d_in, facts), float64
    delta: Delta  # R A^T


def write_layers(
    inputs: Inputs[SpreadHyperparameters], targets: Tensor, adjust: AdjustKeys
) -> Iterator[tuple[int, Written]]:
    """Yield each layer as it is written, with those before it written. Args and errors: see `spread`."""
    model, layers, is_afresh = inputs.model, inputs.hyperparameters.layers, inputs.hyperparameters.residuals_afresh
    states = SubjectStates(model, inputs.facts, inputs.contexts)
    edited: dict[int, Tensor] = {}
    for done, layer in enumerate(layers):
        with model.using(edited):
            if edited and is_afresh:
                targets = _search_afresh(inputs, layer, done)
            output_layer = layer if is_afresh else layers[-1]
            if inputs.store is not None and not edited:
                keys, outputs = base_states(states, layer, output_layer, inputs.store)
            else:
                keys, outputs = states.read(layer, output_layer)
        shares = 1 if is_afresh else len(layers) - done
        missing = (targets.to(outputs.device) - outputs).double() / shares
        residuals = of_down_projection(model, layer, keys, missing).T
        adjusted = adjust(layer, keys)
        delta = Delta.of_factors(residuals, adjusted.T)
        yield layer, Written(keys, residuals, adjusted, delta)
        edited[layer] = edited_weight(layer, model.weight(layer), delta)


def _search_afresh(inputs: Inputs[SpreadHyperparameters], layer: int, done: int) -> Tensor:
    """Return the targets at `layer` in the model as it is now, which no store may keep, (facts, d_model), float32."""
    settings = inputs.hyperparameters.overridden({"layers": [layer]})

    def still_here(*_: int) -> None:
        _tell(inputs, done)

    return find_targets(inputs.model, inputs.facts, inputs.contexts, settings, on_progress=still_here)


def _tell(inputs: Inputs[SpreadHyperparameters], done: int) -> None:
    inputs.on_progress("spread", done, inputs.hyperparameters.num_writing_steps)
