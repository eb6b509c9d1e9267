"""`errata tune`: hyperparameters for a model that is new to Errata, found by editing it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from errata.errors import InvalidHyperparameters
from errata.hyperparameters import Basis, Hyperparameters, Known, MemitHyperparameters, known_for, unknown_to
from errata.tuning.grid import CLAMPS, FOR_A_SMALL_MODEL, LAMBDAS, SMALL, Grid, by_depth, read_ranges, spelled
from errata_cli.options import Home, HyperparametersFile, Model, MomentsCorpus, Seed, numbers, settings_with_model
from errata_cli.progress import Progress, count_of

if TYPE_CHECKING:
    from errata_registry.settings import Settings

    from errata.comparison.cells import Bench
    from errata.comparison.data_sets import DataSet
    from errata.model import EditableModel
    from errata.second_moments import SecondMoments
    from errata.tuning.grid import LayerRange
    from errata.tuning.trials import Trial, Tuned, Work

FULL_EDITS = 100
LEAST_RECORDS = 20  # of facts that the model knows, to choose on and to report on


def tune(
    records: Annotated[
        Path | None,
        Argument(help="JSON file of records (default: the demo world's for `demo`, else facts that the model knows)"),
    ] = None,
    model: Model = None,
    home: Home = None,
    hyperparameters_file: HyperparametersFile = None,
    corpus: MomentsCorpus = None,
    seed: Seed = 0,
    full: Annotated[bool, Option("--full", help="search a grid: hundreds of trials, hours")] = False,
    layers: Annotated[
        str | None, Option(help="of --full: ranges to try, such as 0,0-1,3-8 (default: by a trace and by depth)")
    ] = None,
    lambdas: Annotated[
        str | None, Option(help="of --full: values of lambda to try (default: 10 to 100000, tenfold)")
    ] = None,
    clamps: Annotated[
        str | None, Option(help="of --full: values of the clamp to try (default: 0.75, 1.5 and 4)")
    ] = None,
    edits: Annotated[
        int | None, Option(help="facts that are edited in at once (default: 20, or 100 with --full)")
    ] = None,
    out: Annotated[Path, Option(help="file")] = Path("hyperparameters.json"),
) -> None:
    """Search better hyperparameters for a model.

    Edits one part of the records by MEMIT with some settings of layers, lambda, clamp and refinement, measures the best
    beside the default on another part, and writes what is proposed as a file that ERRATA_HYPERPARAMETERS takes, with
    the tables that led to it beside it. At most ten trials, or hundreds with --full or what belongs to it. What was
    tried is kept: the same command goes on from there.
    """
    settings = settings_with_model(model=model, home=home, hyperparameters=hyperparameters_file, corpus=corpus)
    ranges = None if layers is None else read_ranges(layers)
    values_of_lambda = LAMBDAS if lambdas is None else tuple(numbers(float, "--lambdas", lambdas))
    values_of_clamp = CLAMPS if clamps is None else tuple(numbers(float, "--clamps", clamps))
    full = full or any(given is not None for given in (layers, lambdas, clamps))

    from errata.checkpoint.folder import read_config
    from errata.comparison.cells import Bench
    from errata.evaluation import PROSE
    from errata.targets.store import BuildStore
    from errata.tuning.quick import NUM_EDITS
    from errata.tuning.trials import parts_of
    from errata.tuning.writing import tables, write
    from errata_cli.base_model import load_model, moments_by_need

    data = _data(records, settings.model)
    default = known_for(settings.model, settings.hyperparameters, read_config(settings.model))
    known = _known(default, seed)
    base = load_model(settings)
    wanted = edits or (FULL_EDITS if full else NUM_EDITS)
    data = data or _known_facts(base, wanted, seed)
    num_edits = edits or max(1, min(wanted, len(data.records) // 2))
    parts_of(data.records, num_edits)
    _refuse_what_cannot_be_tried(base, known, ranges, values_of_lambda, values_of_clamp)
    if full:
        is_derived = default["memit"].basis is Basis.DERIVED
        grid = Grid(ranges or by_depth(base.num_layers, _traced(base, data, seed)), values_of_lambda, values_of_clamp)
        planned = _full_search(base, known, grid, num_edits, with_small=is_derived and base.num_layers <= SMALL)
    else:
        planned = _quick_search(base, known, _traced(base, data, seed), num_edits)

    kept = out.with_name(f"{out.stem}-search")
    kept.mkdir(parents=True, exist_ok=True)
    moments = _of_all_layers(moments_by_need(settings, base), known, planned.layers)
    store = BuildStore(kept / "targets")
    searching, reporting = (
        Bench(base, kept / "cells", moments, seed=seed, texts=texts, store=store) for texts in ((), PROSE)
    )
    _tell_how_long(planned, settings, searching, data, known, num_edits)
    tuned = _carried_out(planned, searching, reporting, data)
    write(tuned, settings.model, data.source, out)
    print(tables(dataclasses.replace(tuned, trials=())))
    if tuned.chosen == known:
        print("nothing that was tried is better by more than chance than what the model is edited with by default")
    print(f"{out} is for ERRATA_HYPERPARAMETERS; {kept.name}.md and .json beside it are what led to it")


@dataclass(frozen=True, slots=True)
class _Planned:
    """A search: the layers that it needs second moments of, the most that it does, and the function that does it."""

    layers: list[int]
    work: Work
    carry_out: Callable[..., Tuned]


def _refuse_what_cannot_be_tried(
    base: EditableModel,
    known: MemitHyperparameters,
    ranges: Iterable[LayerRange] | None,
    lambdas: Iterable[float],
    clamps: Iterable[float],
) -> None:
    """Raise `InvalidHyperparameters` before anything that takes long: tracing facts and timing pieces of the search."""
    for layers in ranges or ():
        base.require_editable(layers)
    for name, values in (("moment_weight", lambdas), ("clamp", clamps)):
        for value in values:
            known.overridden({name: value})


def _quick_search(base: EditableModel, known: MemitHyperparameters, traced: LayerRange, num_edits: int) -> _Planned:
    from errata.tuning import quick

    ranges = quick.other_layers(known.layers, traced, base.num_layers)
    return _Planned(
        _all_of([known.layers, *ranges]),
        quick.most_work(known, ranges, num_edits),
        partial(quick.quick_tune, known=known, layer_ranges=ranges, num_edits=num_edits),
    )


def _full_search(
    base: EditableModel, known: MemitHyperparameters, grid: Grid, num_edits: int, *, with_small: bool
) -> _Planned:
    from errata.tuning import search

    start = known.overridden({"layers": grid.layer_ranges[0], "moment_weight": grid.lambdas[0]})
    starts = [start, *([start.overridden(FOR_A_SMALL_MODEL)] if with_small else [])]
    return _Planned(
        _all_of([known.layers, *grid.layer_ranges]),
        search.most_work(grid, num_edits, len(starts)),
        partial(search.tune, known=known, starts=starts, grid=grid, num_edits=num_edits),
    )


def _all_of(ranges: Iterable[LayerRange]) -> list[int]:
    return sorted({layer for layers in ranges for layer in layers})


def _data(file: Path | None, model: str) -> DataSet | None:
    """Return the records of a file, or those of the demo model; None where the model must be asked for some."""
    from errata.comparison.data_sets import from_file
    from errata.demo import DEMO
    from errata.demo.shipped import data_set

    if file:
        return from_file(None, file)
    return data_set("counterfact") if model == DEMO else None


def _known(default: Mapping[str, Known], seed: int) -> MemitHyperparameters:
    """Return what MEMIT edits the model with so far. Raises `InvalidHyperparameters` if nobody says."""
    if "memit" not in default:
        raise InvalidHyperparameters("method", unknown_to("memit", default))
    known = default["memit"].hyperparameters
    assert isinstance(known, MemitHyperparameters)
    told = f"what the model is edited with by default is {default['memit'].basis}: {default['memit'].source}"
    print(told, file=sys.stderr)
    return known.overridden({"seed": seed})


def _known_facts(base: EditableModel, num_edits: int, seed: int) -> DataSet:
    from errata.comparison.data_sets import DataSet
    from errata.tuning.known_facts import known_records

    found = known_records(
        base,
        2 * num_edits,
        min(2 * num_edits, LEAST_RECORDS),
        seed=seed,
        on_progress=count_of("well-known facts asked"),
    )
    return DataSet.of("counterfact", "facts that the model knows", found, ())


def _traced(base: EditableModel, data: DataSet, seed: int) -> LayerRange:
    from errata.tuning.layers import traced_layers

    return traced_layers(base, data.records[-2 * FULL_EDITS :], seed=seed, on_progress=count_of("facts traced"))


def _tell_how_long(
    planned: _Planned,
    settings: Settings,
    bench: Bench,
    data: DataSet,
    known: MemitHyperparameters,
    num_edits: int,
) -> None:
    """Say how long a search will take at most, by timing small pieces of it."""
    from errata.second_moments import stored_origins
    from errata.second_moments.home import moments_folder
    from errata.second_moments.moments import key_vectors_for
    from errata.tuning.pace import pace_of

    there = {origin.layer for origin in stored_origins(moments_folder(settings.home, bench.model), planned.layers)}
    missing = [layer for layer in planned.layers if layer not in there and not settings.published_moments]
    pace = pace_of(bench.model, data.records[-num_edits:], bench.contexts, known, missing or planned.layers)
    key_vectors = key_vectors_for(bench.model, missing, known.num_samples) if missing else 0
    minutes = pace.seconds(planned.work, key_vectors) / 60
    print(
        f"about {minutes:.0f} minutes on this machine" if minutes >= 1.5 else "about a minute on this machine",
        f"for at most {planned.work.trials} trials of {num_edits} facts from {data.source}"
        + (f", and the second moments of {len(missing)} layers" if missing else ""),
        file=sys.stderr,
    )


def _carried_out(planned: _Planned, searching: Bench, reporting: Bench, data: DataSet) -> Tuned:
    """Search, showing each trial; what was tried is kept if Ctrl-C ends it."""
    progress = Progress(planned.work.trials, at_most=True)
    try:
        return planned.carry_out(
            searching,
            reporting,
            data.records,
            on_trial=lambda trial: progress.done(_named(trial), _outcome(trial)),
            within=progress.within,
        )
    except KeyboardInterrupt:
        print("\nwhat was tried is kept; the same command goes on from there", file=sys.stderr)
        raise


def _of_all_layers(
    moments: Callable[[Hyperparameters], SecondMoments], known: MemitHyperparameters, layers: list[int]
) -> Callable[[Hyperparameters], SecondMoments]:
    """Make second moments for every layer at once, whichever are asked for first."""
    of_all = known.overridden({"layers": layers})
    return lambda wanted: moments(of_all)


def _named(trial: Trial) -> str:
    settings = trial.hyperparameters
    return (
        f"{trial.num_records} records, layers {spelled(settings.layers)}, clamp {settings.clamp:g}, "
        f"lambda {settings.moment_weight:g}, weight_decay {settings.weight_decay:g}, kl_factor "
        f"{settings.kl_factor:g}, refinement {settings.refinement_steps}"
    )


def _outcome(trial: Trial) -> str:
    if trial.cell.failed is not None:
        return f"failed: {trial.cell.failed}"
    return f"score {100 * trial.score:.1f}, drift {trial.drift:.4f}"
