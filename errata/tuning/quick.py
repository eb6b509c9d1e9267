"""The quick search: at most ten trials, from the settings that are known for the model, one thing after another.

Layers, lambda, clamp and refinement are varied in this order, each from the best so far. So few records tell large
differences apart and no small ones. Therefore what comes out is measured beside the known settings on other records,
and they stay unless it is better there by more than chance.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import harmonic_mean
from typing import Any

from errata.comparison.cells import Bench, OnProgress
from errata.errors import NotFinite
from errata.evaluation import Record
from errata.hyperparameters import MemitHyperparameters
from errata.hyperparameters.records import FIRST_REFINEMENT_STEPS
from errata.tuning.grid import LayerRange, shifted
from errata.tuning.trials import Stage, Trial, Trials, Tuned, Work, best, parts_of

NUM_EDITS = 20  # facts at once, where nobody says
NUM_LAYER_RANGES = 2  # beside the known one
LAMBDA_FACTOR = 10
CLAMP_FACTOR = 4  # what lies between MEMIT's clamp for GPT-J and those published for Llama, about
RESAMPLES = 1000
CONFIDENCE = 0.95
LEAST_TO_COMPARE = 5  # of fewer records, all may agree by chance


def quick_tune(
    bench: Bench,
    reporting: Bench,
    records: Sequence[Record],
    known: MemitHyperparameters,
    layer_ranges: Sequence[LayerRange],
    num_edits: int,
    *,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    within: Callable[[str], OnProgress] = lambda piece: lambda stage, done, total: None,
) -> Tuned:
    """Choose on the last `num_edits` records, report on those before; propose `known` unless another is better there.

    Args:
        bench: with a store of targets, which lambda and refinement share.
        reporting: of the same model, for the report.
        layer_ranges: to try beside the known ones (`other_layers`).
        on_trial: called with each trial, measured now or found from an earlier search.

    Raises:
        InvalidHyperparameters: a layer that the model does not have.
        DataSetError: too few records, or one that no score can be made of.
        InvalidFacts: a prompt does not fit into the model's context.
        StatisticsError: the second moments cannot be had.
        NotFinite: none of the settings can be computed.
    """
    on, reported_on = parts_of(records, num_edits)
    bench.require_room([*on, *reported_on])
    for layers in (known.layers, *layer_ranges):
        bench.model.require_editable(layers)
    trials = Trials(bench, on_trial, within)
    found = trials.tried("default", known, on)
    for stage, changes in _changes(known, layer_ranges):
        others = [found.hyperparameters.overridden(change) for change in changes]
        found = best([found, *(trials.tried(stage, other, on) for other in others)])
    if found.cell.failed is not None:
        raise NotFinite(f"no setting that was tried can be computed: {found.cell.failed}")
    reports = Trials(reporting, on_trial, within)
    of_known = reports.tried("report", known, reported_on)
    if found.hyperparameters == known:
        return Tuned(known, tuple(trials.made), (of_known,))
    of_found = reports.tried("report", found.hyperparameters, reported_on)
    first, second = (of_found, of_known) if is_better(of_found, of_known) else (of_known, of_found)
    return Tuned(first.hyperparameters, tuple(trials.made), (first, second))


def other_layers(known: LayerRange, traced: LayerRange, num_layers: int) -> tuple[LayerRange, ...]:
    """Return up to `NUM_LAYER_RANGES` ranges to try: what a trace proposes, then later, earlier and longer ones."""
    longer = (*known, known[-1] + 1)
    ranges = dict.fromkeys((traced, *shifted(known, num_layers), longer))
    return tuple(layers for layers in ranges if layers and layers != known and layers[-1] < num_layers - 1)[
        :NUM_LAYER_RANGES
    ]


def most_work(known: MemitHyperparameters, layer_ranges: Sequence[LayerRange], num_edits: int) -> Work:
    """Return the most that a search does, with its report."""
    changes = _changes(known, layer_ranges)
    trials = 1 + sum(len(of_stage) for _, of_stage in changes) + 2
    last_layers = {layers[-1] for layers in (known.layers, *layer_ranges)}
    return Work(
        trials=trials,
        searched=(len(last_layers) + 1 + 2) * num_edits,  # with the other clamp, and for the report
        refined=trials * num_edits * max(known.refinement_steps, FIRST_REFINEMENT_STEPS),
        measured=trials * num_edits,
    )


def _changes(
    known: MemitHyperparameters, layer_ranges: Sequence[LayerRange]
) -> list[tuple[Stage, list[Mapping[str, Any]]]]:
    """Return what each stage tries in place of the known value."""
    lambdas = [known.moment_weight * LAMBDA_FACTOR, known.moment_weight / LAMBDA_FACTOR]
    bounds = known.bounds("moment_weight")
    clamp = known.clamp / CLAMP_FACTOR if known.clamp > CLAMP_FACTOR / 2 else known.clamp * CLAMP_FACTOR
    return [
        ("layers", [{"layers": layers} for layers in layer_ranges]),
        ("lambda", [{"moment_weight": value} for value in lambdas if bounds.low <= value <= bounds.high]),
        ("clamp", [{"clamp": clamp}]),
        ("refinement", [{"refinement_steps": 0 if known.refinement_steps else FIRST_REFINEMENT_STEPS}]),
    ]


def is_better(one: Trial, other: Trial) -> bool:
    """Return True if `one` scores higher than `other` on the same records by more than chance.

    It does if there are enough records, and it is ahead in `CONFIDENCE` of the draws of as many of them, with
    replacement, from a fixed seed.
    """
    if one.cell.failed is not None or other.cell.failed is not None:
        return one.cell.failed is None
    if one.num_records < LEAST_TO_COMPARE:
        return False
    ending = "" if "score" in one.cell.estimates else "_token_accuracy"
    names = [f"{kind}{ending}" for kind in ("efficacy", "generalization", "specificity")]
    draw, places, ahead = random.Random(0), range(one.num_records), 0
    for _ in range(RESAMPLES):
        drawn = draw.choices(places, k=len(places))
        first, second = (
            harmonic_mean([sum(trial.cell.metrics[place][name] for place in drawn) for name in names])
            for trial in (one, other)
        )
        ahead += first > second
    return ahead >= CONFIDENCE * RESAMPLES
