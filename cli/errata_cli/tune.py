"""`errata tune`: hyperparameters for a model that is new to Errata, found by editing it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable

from errata_registry.settings import Settings

from errata.comparison.cells import Bench
from errata.comparison.data_sets import DataSet, from_file
from errata.demo import DEMO
from errata.demo.shipped import data_set
from errata.errors import DataSetError
from errata.evaluation import PROSE
from errata.hyperparameters import Hyperparameters, MemitHyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.targets.store import BuildStore
from errata.tuning.grid import CLAMPS, FOR_A_SMALL_MODEL, LAMBDAS, Grid, lower_half, read_ranges, spelled
from errata.tuning.search import Trial, most_trials
from errata.tuning.search import tune as search
from errata.tuning.writing import tables, write
from errata_cli.progress import Progress
from errata_cli.workshop import Workshop


def tune(arguments: argparse.Namespace, settings: Settings) -> None:
    """Search what the command line names, as far as it was not searched before, and write what is proposed.

    Raises:
        ErrataError: something that was asked for cannot be tried.
    """
    known = MemitHyperparameters.for_model(settings.model, settings.hyperparameters)
    data = _data(arguments, settings)
    workshop = Workshop(settings)
    grid = _grid(arguments, workshop.model)
    first = {"layers": grid.layer_ranges[0], "moment_weight": grid.lambdas[0], "seed": arguments.seed}
    if known:
        starts = [known.overridden(first)]
    else:
        published = MemitHyperparameters.from_dict(first)
        starts = [published, published.overridden(FOR_A_SMALL_MODEL)]
    known = known.overridden({"seed": arguments.seed}) if known else None

    file = arguments.out
    kept = file.with_name(f"{file.stem}-search")
    kept.mkdir(parents=True, exist_ok=True)
    moments = _of_all_layers(workshop, [*starts, *([known] if known else [])], grid)
    store = BuildStore(kept / "targets")
    searching, reporting = (
        Bench(workshop.model, kept / "cells", moments, seed=arguments.seed, texts=texts, store=store)
        for texts in ((), PROSE)
    )
    progress = Progress(most_trials(grid, arguments.edits, len(starts)), at_most=True)
    try:
        tuned = search(
            searching,
            reporting,
            data.records,
            starts,
            grid,
            arguments.edits,
            known=known,
            on_trial=lambda trial: progress.done(_named(trial), _outcome(trial)),
            within=progress.within,
        )
    except KeyboardInterrupt:
        print("\nwhat was tried is kept; the same command goes on from there", file=sys.stderr)
        raise
    write(tuned, settings.model, data.source, file)
    print(tables(dataclasses.replace(tuned, trials=())))
    print(f"{file} is for ERRATA_HYPERPARAMETERS; {kept.name}.md and .json beside it are what led to it")


def _data(arguments: argparse.Namespace, settings: Settings) -> DataSet:
    if arguments.records:
        return from_file(None, arguments.records)
    if settings.model == DEMO:
        return data_set("counterfact")
    raise DataSetError("a file of records must say what to tune on; only the demo model brings records of its own")


def _grid(arguments: argparse.Namespace, model: EditableModel) -> Grid:
    return Grid(
        layer_ranges=read_ranges(arguments.layers) if arguments.layers else lower_half(model.num_layers),
        lambdas=tuple(arguments.lambdas or LAMBDAS),
        clamps=tuple(arguments.clamps or CLAMPS),
    )


def _of_all_layers(
    workshop: Workshop, settings: list[MemitHyperparameters], grid: Grid
) -> Callable[[Hyperparameters], SecondMoments]:
    """Second moments that are made for every layer at once, whichever are asked for first."""
    layers = {layer for layers in (*grid.layer_ranges, *(one.layers for one in settings)) for layer in layers}
    of_all = settings[0].overridden({"layers": sorted(layers)})
    return lambda wanted: workshop.second_moments(of_all)


def _named(trial: Trial) -> str:
    settings = trial.hyperparameters
    return (
        f"{trial.num_records} records, layers {spelled(settings.layers)}, clamp {settings.clamp:g}, "
        f"lambda {settings.moment_weight:g}, weight_decay {settings.weight_decay:g}, kl_factor {settings.kl_factor:g}"
    )


def _outcome(trial: Trial) -> str:
    if trial.cell.failed is not None:
        return f"failed: {trial.cell.failed}"
    return f"score {100 * trial.score:.1f}, drift {trial.drift:.4f}"
