"""Edits in a row, made in one of two ways.

rebuild: what Errata does. Each step builds all facts so far from the base, in one batch; the model that it gives is
    the one that a single edit of all of them gives.
stack: what is usually done. Each step searches for targets and spreads them for the new facts alone, on the model that
    the steps before it have edited; nothing holds the earlier facts in place. It is here to be measured against.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from errata.deltas import Delta, edited_weights
from errata.facts import FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import build
from errata.methods.method import Built, OnProgress, no_news
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.store import BuildStore


def sequential_builds(
    model: EditableModel,
    batches: Iterable[FactSet],
    hyperparameters: MemitHyperparameters,
    second_moments: SecondMoments,
    *,
    mode: Literal["rebuild", "stack"] = "rebuild",
    contexts: Sequence[str] | None = None,
    store: BuildStore | None = None,
    on_progress: OnProgress = no_news,
) -> Iterator[Built]:
    """Yield, after each batch, the update that turns the base into the model as it then is.

    Between the steps the model is the base, bit for bit. Contexts and second moments are the base's in both modes.

    Args:
        batches: what each edit puts in; a later object for a pair already known replaces the earlier one.
        contexts: the prefixes of an earlier build; None samples them anew, once for all steps.
        store: where a rebuild takes the targets of earlier steps from; without one, each step searches for all of them
            again. Stacking leaves it alone: its names say which base model a target is for, not how that was edited.
        on_progress: called in each step as by `errata.methods.memit.build`.

    Raises:
        ValueError: there is no such mode.
        Other errors as `errata.methods.memit.build`, when the step that fails is asked for.
    """
    if mode not in ("rebuild", "stack"):
        raise ValueError(f"mode is rebuild or stack, not {mode!r}")
    prefixes = tuple(contexts) if contexts is not None else sample_contexts(model, hyperparameters.seed)

    def rebuilds() -> Iterator[Built]:
        facts = FactSet()
        for batch in batches:
            facts = facts.with_facts(batch)
            yield build(
                model, facts, hyperparameters, second_moments, contexts=prefixes, store=store, on_progress=on_progress
            )

    def stacked() -> Iterator[Built]:
        so_far: dict[int, Delta] = {}
        for batch in batches:
            with model.using(edited_weights(model, so_far)):
                step = build(model, batch, hyperparameters, second_moments, contexts=prefixes, on_progress=on_progress)
            so_far = so_far | {
                layer: so_far[layer] + delta if layer in so_far else delta for layer, delta in step.deltas.items()
            }
            yield Built(so_far, prefixes)

    return rebuilds() if mode == "rebuild" else stacked()
