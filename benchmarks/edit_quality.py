"""The quality of a method's edits of the demo model: counterfactual edits of its world, more and more at once.

    python -m benchmarks.edit_quality [--method rome] [--edits 1,10,100,300] [--dtype bfloat16]
                                      [--hparams '{"moment_weight": 100}'] [--first 1000]

Each size is measured over disjoint slices of the records (fewer slices for larger sizes) and averaged. The shipped
hyperparameters of the methods beside MEMIT were found on the hundred records from number 1,000 on (`--first 1000`),
which no reported figure is measured on.
"""

import json
import tempfile
from pathlib import Path

import torch

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import demo_moments, demo_records
from errata.comparison.cells import Bench
from errata.comparison.plan import Step
from errata.comparison.results import Row
from errata.demo import DEMO
from errata.hyperparameters import MomentHyperparameters
from errata.methods import METHODS
from errata.model import EditableModel
from errata.second_moments import SecondMoments

SLICES = {1: 30, 10: 8, 100: 3}  # the sizes and slices that the reference was measured with on a like model
COLUMNS = (
    "score",
    "efficacy",
    "generalization",
    "specificity",
    "efficacy_accuracy",
    "generalization_accuracy",
    "specificity_accuracy",
)


def main() -> None:
    arguments = arguments_of(
        __doc__,
        method=tuple(METHODS),
        edits=[1, 10, 100, 300],
        dtype=("float32", "bfloat16", "float16"),
        hparams="{}",
        first=0,
    )
    model = EditableModel.load(DEMO, dtype=getattr(torch, arguments.dtype))
    shipped = METHODS[arguments.method].hyperparameters.for_model(DEMO)
    assert shipped is not None
    hyperparameters = shipped.overridden(json.loads(arguments.hparams))
    records = tuple(demo_records()[arguments.first :])
    with tempfile.TemporaryDirectory() as folder:
        moments = SecondMoments(Path(folder))
        if isinstance(hyperparameters, MomentHyperparameters):
            moments = demo_moments(model, hyperparameters, Path(folder))
        bench = Bench(model, Path(folder, "cells"), lambda wanted: moments, seed=hyperparameters.seed)
        print(f"{len(records)} records; {hyperparameters}\n")
        print_header("edits (runs)", *COLUMNS, "drift", "relative norms", "seconds")
        for size in arguments.edits:
            runs = min(SLICES.get(size, 1), len(records) // size)
            if not runs:
                raise SystemExit(f"there are {len(records)} records, too few for {size} edits")
            parts = [records[run * size : (run + 1) * size] for run in range(runs)]
            cells = [bench.measure(hyperparameters, part) for part in parts]
            _print(Row.of(Step(arguments.method, hyperparameters, parts[0], 0, runs), cells))


def _print(row: Row) -> None:
    if row.failures:
        raise SystemExit("\n".join(row.failures))
    figures = [f"{100 * row.estimates[name].mean:.1f}" for name in COLUMNS]
    norms = ", ".join(f"{norm:.2f}" for norm in row.norms.values())
    print_row(f"{row.edits} ({row.slices})", *figures, f"{row.drift:.4f}", norms, f"{row.seconds:.2f}")


if __name__ == "__main__":
    main()
