"""MEND's edit: the gradient terms of the facts on the base, passed through the network and summed.

    W' = W - alpha * sum over the tokens of all facts of delta~ u~^T

There is no search, and each fact is taken as if it were alone: a pass through the model and one back are all that it
takes, and the update of many facts is the sum of theirs.
"""

from errata.deltas import Delta
from errata.errors import InvalidHyperparameters
from errata.hyperparameters import MendHyperparameters
from errata.methods.mend.gradient_terms import gradient_terms, prefixes_of
from errata.methods.mend.network import moment_factors, network_of
from errata.methods.method import Inputs, Method


def find_updates(inputs: Inputs[MendHyperparameters]) -> dict[int, Delta]:
    """Return the update of each layer. Its rank is at most twice the number of the facts' tokens.

    The network lies in the folder of the second moments; `store` is not used.

    Raises:
        StatisticsError: no network was trained for this model, or it has no second moments.
        InvalidHyperparameters: it was trained for other layers.
    """
    model, moments, layers = inputs.model, inputs.second_moments, inputs.hyperparameters.layers
    network = network_of(moments.folder, model.digest).to(model.device)
    if layers != network.layers:
        detail = f"are {list(layers)}, but the network was trained for {list(network.layers)}"
        raise InvalidHyperparameters("layers", detail)
    inputs.on_progress("spread", 0, len(layers))
    terms = gradient_terms(model, inputs.facts, layers, prefixes_of(inputs.contexts))
    factors = network(terms, moment_factors(moments, layers, model.device))
    deltas = {}
    for done, layer in enumerate(layers, start=1):
        deltas[layer] = Delta.of_factors(factors[layer].left.T.double(), factors[layer].right.double())
        inputs.on_progress("spread", done, len(layers))
    return deltas


build = Method(MendHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
