"""`errata bench`: methods compared at more and more edits, as a table, a plot and JSON in a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from errata import hyperparameters
from errata.files import durable
from errata.files.json_figures import with_nulls
from errata_cli.options import (
    Home,
    HyperparametersFile,
    Model,
    MomentsCorpus,
    RelationsFile,
    Seed,
    honest_with,
    numbers,
    settings_with_model,
)
from errata_cli.progress import Progress

if TYPE_CHECKING:
    from errata.comparison.cells import Bench, Cell
    from errata.comparison.data_sets import DataSet
    from errata.comparison.plan import Plan, Step
    from errata.comparison.results import Comparison


def bench(
    data_set: Annotated[Literal["counterfact", "zsre"], Argument(help="what the records are like")],
    model: Model = None,
    home: Home = None,
    hyperparameters_file: HyperparametersFile = None,
    corpus: MomentsCorpus = None,
    seed: Seed = 0,
    edits: Annotated[str, Option(help="records that are edited in at once")] = "1,10,100,300",
    methods: Annotated[str | None, Option(help="such as memit,rome (default: all that are known)")] = None,
    slices: Annotated[
        str | None,
        Option(
            help="on how many slices of the records each of --edits is measured (default: 30 at 1 edit, 8 up to 10, 3 "
            "up to 50, 2 up to 100, 1 above)"
        ),
    ] = None,
    records: Annotated[
        Path | None, Option(help="JSON file (default: the demo world's for `demo`, else the published data set)")
    ] = None,
    references: Annotated[Path | None, Option(help="file like attribute_snippets.json, for consistency")] = None,
    generation: Annotated[bool, Option("--generation", help="measure fluency and consistency; takes longer")] = False,
    honest: Annotated[bool, Option("--honest", help="ask all that critics ask; takes several times as long")] = False,
    relations: RelationsFile = None,
    out: Annotated[Path | None, Option(help="folder for the results (default: bench-DATA_SET)")] = None,
) -> None:
    """Compare editing methods at more and more edits.

    Edits records in by each method, as many at once as each of --edits says, and measures them, as the MEMIT paper's
    tables do, and by what the model says of itself. Beside the methods stand the same facts put before the prompts of
    the unedited model. Writes results.json, table.md and a plot. What was measured is kept: the same command goes on
    from there.
    """
    settings = settings_with_model(model=model, home=home, hyperparameters=hyperparameters_file, corpus=corpus)
    sizes = numbers(int, "--edits", edits)
    slices_of_each = None if slices is None else numbers(int, "--slices", slices)

    from errata import figures
    from errata.checkpoint.folder import read_config
    from errata.comparison import plots
    from errata.comparison.cells import Bench
    from errata.comparison.data_sets import data_set_for
    from errata.comparison.plan import plan
    from errata.comparison.table import table
    from errata.evaluation import FREELY, Generation, Honest
    from errata_cli.base_model import load_model, moments_by_need

    asked = honest_with(relations, seed) if honest else Honest(kinds=FREELY)
    data = data_set_for(
        data_set, settings.model, file=records, references=references, home=settings.home, with_references=generation
    )
    known = hyperparameters.for_model(settings.model, settings.hyperparameters, read_config(settings.model))
    names = list(known) if methods is None else methods.split(",")
    planned = plan(data, names, known, sizes, slices_of_each, seed=seed)
    folder = out or Path(f"bench-{data.name}")
    folder.mkdir(parents=True, exist_ok=True)

    base = load_model(settings)
    texts = Generation(seed=seed, documents=data.documents) if generation else None
    moments = moments_by_need(settings, base)
    measuring = Bench(base, folder / "cells", moments, seed=seed, generation=texts, honest=asked)
    measuring.require_room(planned.records)
    print(_described(data, planned))
    comparison = _measured(measuring, planned, settings.model, folder)
    figures.save(plots.scaling_figure(comparison), folder, "scaling")
    figures.save(plots.hidden_figure(comparison), folder, "hidden")
    print(table(comparison))
    print(f"results.json, table.md, and scaling and hidden as .png and .svg are in {folder}")


def _described(data: DataSet, planned: Plan) -> str:
    left_out = f" ({data.left_out} left out, which ask what an earlier one asks)" if data.left_out else ""
    return f"{len(data.records)} records from {data.source}{left_out}; {len(planned.records)} of them are used"


def _measured(measuring: Bench, planned: Plan, model: str, folder: Path) -> Comparison:
    """Measure the cells that are missing; after each, write the results so far."""
    from errata.comparison.results import compared
    from errata.comparison.table import table

    steps = list(planned.steps())
    kept = (measuring.find(step.hyperparameters, step.records, step.in_context) for step in steps)
    cells = {place: cell for place, cell in enumerate(kept) if cell}
    print(f"{len(steps)} cells, {len(cells)} of them measured before", file=sys.stderr)

    def drawn_together() -> Comparison:
        comparison = compared(planned, model, [(steps[place], cells[place]) for place in sorted(cells)])
        durable.write(folder / "table.md", table(comparison))
        results = json.dumps(with_nulls(comparison.as_dict(measuring.model)), indent=1, ensure_ascii=False)
        durable.write(folder / "results.json", results)
        return comparison

    progress = Progress(len(steps), done=len(cells))
    try:
        for place, step in enumerate(steps):
            if place not in cells:
                within = progress.within(str(step))
                cell = measuring.measure(step.hyperparameters, step.records, within, in_context=step.in_context)
                cells[place] = cell
                progress.done(str(step), _outcome(planned, step, cell))
                drawn_together()
    except KeyboardInterrupt:
        print(f"\n{len(cells)} of {len(steps)} cells are kept; the same command goes on from there", file=sys.stderr)
        raise
    return drawn_together()


def _outcome(planned: Plan, step: Step, cell: Cell) -> str:
    if cell.failed is not None:
        return f"failed: {cell.failed}"
    score = cell.estimates.get("score" if planned.data.name == "counterfact" else "token_score")
    said = f"score {100 * score.mean:.1f}" if score else "no score"
    return f"{said}, built in {cell.seconds:.1f} s" if step.hyperparameters else said
