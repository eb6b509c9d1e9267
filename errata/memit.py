"""MEMIT from facts to updates: contexts, targets, spread (Meng et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from errata.contexts import sample_contexts
from errata.deltas import Delta
from errata.errors import InvalidHyperparameters
from errata.facts import FactSet
from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.prompts import require_room
from errata.second_moments import SecondMoments
from errata.spread import spread
from errata.target_store import TargetStore
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
    contexts: Sequence[str] | None = None,
    store: TargetStore | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Built:
    """The updates that put `facts` into the base model. The model ends as it began, whatever happens.

    Args:
        contexts: the prefixes of an earlier build that this one is to agree with; None samples them anew.
        store: targets found before, and where those found now are kept.
        on_progress: called with ("targets", facts done, facts) and ("spread", layers done, layers).
            What it raises ends the build.

    Raises:
        InvalidHyperparameters: a layer that the model does not have.
        InvalidFacts: a prompt, with what goes before and after it, is longer than the model's context.
        StatisticsError: a layer without second moments.
        NotFinite: the computation left the finite numbers.
    """
    check_layers(model, hyperparameters)
    contexts = tuple(contexts) if contexts is not None else sample_contexts(model, hyperparameters.seed)
    require_room(model, list(facts), contexts)
    if not facts:
        return Built({}, contexts)
    ordered = list(facts)
    targets = find_targets(
        model,
        ordered,
        contexts,
        hyperparameters,
        store=store,
        on_progress=lambda done, total: on_progress("targets", done, total),
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
