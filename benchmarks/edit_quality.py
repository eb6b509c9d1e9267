"""The quality of a method's edits of the demo model: counterfactual edits of its world, more and more at once.

    python -m benchmarks.edit_quality [--method rome] [--edits 1,10,100,300] [--dtype bfloat16]
                                      [--hparams '{"moment_weight": 100}'] [--first 1000]

Each size is measured over disjoint slices of the records (fewer slices for larger sizes) and averaged. The shipped
hyperparameters of the methods beside MEMIT were found on the hundred records from number 1,000 on (`--first 1000`),
which no reported figure is measured on.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.command import numbers, parsed, parser_for, print_header, print_row
from benchmarks.demo_edits import demo_moments, demo_records
from errata.deltas import edited_weights, relative_norm
from errata.demo import DEMO
from errata.evaluation import Evaluation, Record, evaluate
from errata.evaluation.results import estimates_of
from errata.facts import FactSet
from errata.hyperparameters import Hyperparameters, MomentHyperparameters
from errata.methods import METHODS
from errata.methods.method import Method
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


@dataclass(frozen=True, slots=True)
class Slice:
    """One edit of some records: its evaluation, the norms of the updates, and the seconds that the build took."""

    measured: Evaluation
    norms: tuple[float, ...]
    seconds: float


def main() -> None:
    parser = parser_for(__doc__, threads=None)
    parser.add_argument("--method", default="memit", choices=METHODS)
    parser.add_argument("--edits", type=numbers, default="1,10,100,300", help="sizes, separated by commas")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--hparams", type=json.loads, default={}, help="JSON object of hyperparameters to change")
    parser.add_argument("--first", type=int, default=0, help="number of the first record")
    arguments = parsed(parser)
    model = EditableModel.load(DEMO, dtype=getattr(torch, arguments.dtype))
    method = METHODS[arguments.method]
    shipped = method.hyperparameters.for_model(DEMO)
    assert shipped is not None
    hyperparameters = shipped.overridden(arguments.hparams)
    records = demo_records()[arguments.first :]
    with tempfile.TemporaryDirectory() as folder:
        moments = SecondMoments(Path(folder))
        if isinstance(hyperparameters, MomentHyperparameters):
            moments = demo_moments(model, hyperparameters, Path(folder))
        print(f"{len(records)} records; {hyperparameters}\n")
        print_header("edits (runs)", *COLUMNS, "drift", "relative norms", "seconds")
        for size in arguments.edits:
            if size > len(records):
                parser.error(f"there are {len(records)} records, too few for {size} edits")
            runs = min(SLICES.get(size, 1), len(records) // size)
            slices = [
                edit_slice(model, method, records[run * size : (run + 1) * size], hyperparameters, moments)
                for run in range(runs)
            ]
            print_row(*_row(size, slices))


def edit_slice(
    model: EditableModel,
    method: Method[Any],
    records: Sequence[Record],
    hyperparameters: Hyperparameters,
    moments: SecondMoments,
) -> Slice:
    """Edit the records in as one batch and measure them on all their prompts."""
    facts = FactSet(record.fact for record in records)
    cases = [record.case for record in records]
    began = time.perf_counter()
    built = method(model, facts, hyperparameters, moments)
    seconds = time.perf_counter() - began
    norms = tuple(relative_norm(model, layer, delta) for layer, delta in built.deltas.items())
    return Slice(evaluate(model, cases, edited_weights(model, built.deltas)), norms, seconds)


def _row(size: int, slices: Sequence[Slice]) -> list[str]:
    estimates = estimates_of([result for one in slices for result in one.measured.results])
    figures = [f"{100 * estimates[name].mean:.1f}" for name in COLUMNS]
    drift = fmean(one.measured.drift for one in slices)
    norms = ", ".join(f"{fmean(layer):.2f}" for layer in zip(*(one.norms for one in slices), strict=True))
    seconds = fmean(one.seconds for one in slices)
    return [f"{size} ({len(slices)})", *figures, f"{drift:.4f}", norms, f"{seconds:.2f}"]


if __name__ == "__main__":
    main()
