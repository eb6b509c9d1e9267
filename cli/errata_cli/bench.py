"""`errata bench`: methods compared at more and more edits, as a table, a plot and JSON in a folder."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from errata_registry.settings import Settings

from errata import figures, hyperparameters
from errata.comparison import plots
from errata.comparison.cells import Bench, Cell
from errata.comparison.data_sets import DataSet, data_set_for
from errata.comparison.plan import Plan, Step, plan
from errata.comparison.results import Comparison, compared
from errata.comparison.table import table
from errata.errors import ModelError
from errata.evaluation import Generation
from errata.files import durable
from errata.files.json_figures import with_nulls
from errata_cli.progress import Progress
from errata_cli.workshop import Workshop


def bench(arguments: argparse.Namespace, settings: Settings) -> None:
    """Measure what the command line names, as far as it was not measured before, and write the results.

    Raises:
        ErrataError: something that was asked for cannot be measured.
    """
    known = hyperparameters.for_model(settings.model, settings.hyperparameters)
    if not known:
        raise ModelError(
            f"Errata brings no hyperparameters for {settings.model}; --hyperparameters names a file of them, which "
            "`errata tune` makes"
        )
    data = data_set_for(
        arguments.data_set,
        settings.model,
        file=arguments.records,
        references=arguments.references,
        home=settings.home,
        with_references=arguments.generation,
    )
    planned = plan(
        data, arguments.methods or list(known), known, arguments.edits, arguments.slices, seed=arguments.seed
    )
    folder = arguments.out or Path(f"bench-{data.name}")
    folder.mkdir(parents=True, exist_ok=True)

    workshop = Workshop(settings)
    generation = Generation(seed=arguments.seed, documents=data.documents) if arguments.generation else None
    measuring = Bench(
        workshop.model, folder / "cells", workshop.second_moments, seed=arguments.seed, generation=generation
    )
    measuring.require_room(planned.records)
    print(_described(data, planned))
    comparison = _measured(measuring, planned, settings.model, folder)
    figures.save(plots.scaling_figure(comparison), folder, "scaling")
    print(table(comparison))
    print(f"results.json, table.md and scaling.png and .svg are in {folder}")


def _described(data: DataSet, planned: Plan) -> str:
    left_out = f" ({data.left_out} left out, which ask what an earlier one asks)" if data.left_out else ""
    return f"{len(data.records)} records from {data.source}{left_out}; {len(planned.records)} of them are used"


def _measured(measuring: Bench, planned: Plan, model: str, folder: Path) -> Comparison:
    """Measure what is missing, one cell after another, the results up to then being written after each."""
    steps = list(planned.steps())
    kept = ((place, measuring.find(step.hyperparameters, step.records)) for place, step in enumerate(steps))
    cells = {place: cell for place, cell in kept if cell}
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
                cell = measuring.measure(step.hyperparameters, step.records, progress.within(str(step)))
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
    return f"{said}, built in {cell.seconds:.1f} s" if step.method else said
