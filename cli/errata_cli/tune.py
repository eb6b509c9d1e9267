"""`errata tune`: hyperparameters for a model that is new to Errata, found by editing it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from errata.errors import DataSetError
from errata.hyperparameters import Basis, Hyperparameters, MemitHyperparameters, known_for
from errata.tuning.grid import CLAMPS, FOR_A_SMALL_MODEL, LAMBDAS, Grid, lower_half, read_ranges, spelled
from errata_cli.options import Home, HyperparametersFile, Model, MomentsCorpus, Seed, numbers, settings_with_model
from errata_cli.progress import Progress

if TYPE_CHECKING:
    from errata.comparison.cells import Bench
    from errata.comparison.data_sets import DataSet
    from errata.second_moments import SecondMoments
    from errata.tuning.search import Trial, Tuned


def tune(
    records: Annotated[
        Path | None, Argument(help="JSON file of records (default: the demo world's for `demo`)")
    ] = None,
    model: Model = None,
    home: Home = None,
    hyperparameters_file: HyperparametersFile = None,
    corpus: MomentsCorpus = None,
    seed: Seed = 0,
    layers: Annotated[
        str | None, Option(help="ranges to try, such as 0,0-1,3-8 (default: ranges in the lower half)")
    ] = None,
    lambdas: Annotated[str | None, Option(help="values of lambda to try (default: 10 to 100000, tenfold)")] = None,
    clamps: Annotated[str | None, Option(help="values of the clamp to try (default: 0.75, 1.5 and 3)")] = None,
    edits: Annotated[int, Option(help="facts that are edited in at once")] = 100,
    out: Annotated[Path, Option(help="file")] = Path("hyperparameters.json"),
) -> None:
    """Search hyperparameters for a model that is new to Errata.

    Edits one part of the records by MEMIT with many settings of layers, lambda, clamp and refinement, measures the best
    on another part, and writes them as a file that ERRATA_HYPERPARAMETERS takes, with the tables that led to it beside
    it. What was tried is kept: the same command goes on from there.
    """
    settings = settings_with_model(model=model, home=home, hyperparameters=hyperparameters_file, corpus=corpus)
    ranges = None if layers is None else read_ranges(layers)
    values_of_lambda = LAMBDAS if lambdas is None else tuple(numbers(float, "--lambdas", lambdas))
    values_of_clamp = CLAMPS if clamps is None else tuple(numbers(float, "--clamps", clamps))

    from errata.checkpoint.folder import read_config
    from errata.comparison.cells import Bench
    from errata.evaluation import PROSE
    from errata.targets.store import BuildStore
    from errata.tuning.writing import tables, write
    from errata_cli.base_model import load_model, moments_by_need

    data = _data(records, settings.model)
    default = known_for(settings.model, settings.hyperparameters, read_config(settings.model)).get("memit")
    base = load_model(settings)
    grid = Grid(layer_ranges=ranges or lower_half(base.num_layers), lambdas=values_of_lambda, clamps=values_of_clamp)
    first = {"layers": grid.layer_ranges[0], "moment_weight": grid.lambdas[0], "seed": seed}
    known: MemitHyperparameters | None = None
    if default is not None:
        assert isinstance(default.hyperparameters, MemitHyperparameters)
        known = default.hyperparameters.overridden({"seed": seed})
    if known and default and default.basis is not Basis.DERIVED:
        starts = [known.overridden(first)]
    else:
        published = MemitHyperparameters.from_dict(first)
        starts = [published, published.overridden(FOR_A_SMALL_MODEL)]

    kept = out.with_name(f"{out.stem}-search")
    kept.mkdir(parents=True, exist_ok=True)
    moments = _of_all_layers(moments_by_need(settings, base), [*starts, *([known] if known else [])], grid)
    store = BuildStore(kept / "targets")
    searching, reporting = (
        Bench(base, kept / "cells", moments, seed=seed, texts=texts, store=store) for texts in ((), PROSE)
    )
    tuned = _search(searching, reporting, data, starts, grid, edits, known)
    write(tuned, settings.model, data.source, out)
    print(tables(dataclasses.replace(tuned, trials=())))
    print(f"{out} is for ERRATA_HYPERPARAMETERS; {kept.name}.md and .json beside it are what led to it")


def _data(file: Path | None, model: str) -> DataSet:
    from errata.comparison.data_sets import from_file
    from errata.demo import DEMO
    from errata.demo.shipped import data_set

    if file:
        return from_file(None, file)
    if model == DEMO:
        return data_set("counterfact")
    raise DataSetError("a file of records must say what to tune on; only the demo model brings records of its own")


def _search(
    searching: Bench,
    reporting: Bench,
    data: DataSet,
    starts: list[MemitHyperparameters],
    grid: Grid,
    edits: int,
    known: MemitHyperparameters | None,
) -> Tuned:
    """Search, showing each trial; what was tried is kept if Ctrl-C ends it."""
    from errata.tuning import search

    progress = Progress(search.most_trials(grid, edits, len(starts)), at_most=True)
    try:
        return search.tune(
            searching,
            reporting,
            data.records,
            starts,
            grid,
            edits,
            known=known,
            on_trial=lambda trial: progress.done(_named(trial), _outcome(trial)),
            within=progress.within,
        )
    except KeyboardInterrupt:
        print("\nwhat was tried is kept; the same command goes on from there", file=sys.stderr)
        raise


def _of_all_layers(
    moments: Callable[[Hyperparameters], SecondMoments], settings: list[MemitHyperparameters], grid: Grid
) -> Callable[[Hyperparameters], SecondMoments]:
    """Make second moments for every layer at once, whichever are asked for first."""
    layers = {layer for layers in (*grid.layer_ranges, *(one.layers for one in settings)) for layer in layers}
    of_all = settings[0].overridden({"layers": sorted(layers)})
    return lambda wanted: moments(of_all)


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
