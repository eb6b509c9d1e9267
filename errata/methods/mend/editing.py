"""MEND's edit: the gradient terms of the facts on the base, passed through the network and summed.

    W' = W - alpha * sum over the tokens of all facts of delta~ u~^T

There is no search, and each fact is taken as if it were alone: a pass through the model and one back are all that it
takes, and the update of many facts is the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from errata.deltas import Delta
from errata.errors import InvalidHyperparameters
from errata.facts import Fact
from errata.hyperparameters import MendHyperparameters
from errata.methods.mend.gradient_terms import gradient_terms, prefixes_of
from errata.methods.mend.network import moment_factors, network_of
from errata.methods.method import Method, OnProgress
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.targets.store import BuildStore


def find_updates(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: MendHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """Return the update of each layer. Its rank is at most twice the number of the facts' tokens.

    The network lies in the folder of the second moments; `store` is not used.

    Raises:
        StatisticsError: no network was trained for this model, or it has no second moments.
        InvalidHyperparameters: it was trained for other layers.
    """
    network = network_of(second_moments.folder, model.digest).to(model.device)
    layers = hyperparameters.layers
    if layers != network.layers:
        detail = f"are {list(layers)}, but the network was trained for {list(network.layers)}"
        raise InvalidHyperparameters("layers", detail)
    on_progress("spread", 0, len(layers))
    terms = gradient_terms(model, facts, layers, prefixes_of(contexts))
    factors = network(terms, moment_factors(second_moments, layers, model.device))
    deltas = {}
    for done, layer in enumerate(layers, start=1):
        deltas[layer] = Delta.of_factors(factors[layer].left.T.double(), factors[layer].right.double())
        on_progress("spread", done, len(layers))
    return deltas


build = Method(MendHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
