"""MEMIT from facts to updates: contexts, targets, spread (Meng et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from errata.contexts import sample_contexts
from errata.deltas import Delta
from errata.errors import InvalidHyperparameters
from errata.facts import FactSet
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.spread import spread
from errata.targets import find_targets

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What a build gave: the update of each layer, and the context prefixes that it used."""

    deltas: dict[int, Delta]
    contexts: tuple[str, ...]


def build(
    model: EditableModel,
    facts: FactSet,
    hyperparameters: Hyperparameters,
    second_moments: SecondMoments,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Built:
    """The updates that put `facts` into the base model. The model ends as it began, whatever happens.

    Args:
        on_progress: called with ("targets", facts done, facts) and ("spread", layers done, layers).
            What it raises ends the build.

    Raises:
        InvalidHyperparameters: a layer that the model does not have.
        StatisticsError: a layer without second moments.
        NotFinite: the computation left the finite numbers.
    """
    check_layers(model, hyperparameters)
    contexts = sample_contexts(model, hyperparameters.seed)
    if not facts:
        return Built({}, contexts)
    ordered = list(facts)
    targets = find_targets(
        model, ordered, contexts, hyperparameters, lambda done, total: on_progress("targets", done, total)
    )
    deltas = spread(
        model,
        ordered,
        targets,
        contexts,
        hyperparameters,
        second_moments,
        lambda done, total: on_progress("spread", done, total),
    )
    return Built(deltas, contexts)


def check_layers(model: EditableModel, hyperparameters: Hyperparameters) -> None:
    """Raise `InvalidHyperparameters` where a layer is to be edited that the model lacks or that must stay free."""
    if hyperparameters.layers[-1] >= model.num_layers - 1:
        detail = (
            f"layer {hyperparameters.layers[-1]} cannot be edited: the last of {model.num_layers} blocks must stay free"
        )
        raise InvalidHyperparameters("layers", detail)
