"""The state of a model after many edits in a row: rebuilt from the base each time, as Errata does, or stacked.

    python -m benchmarks.endurance [--edits 50] [--facts 20] [--measured-after 1,5,10,20,30,40,50] [--threads 2]

Counterfactual edits of the demo world, with the demo model's own hyperparameters. (These were chosen on records 1,000
to 1,099; the defaults take records 0 to 999.) Three ways to the same facts:

- rebuild: each edit builds all facts so far from the base, and takes the targets of earlier ones from a store;
- stack: each edit goes on top of the model as the earlier ones left it (`errata/methods/sequential.py`);
- one batch: all facts at once, every target searched for anew.

After some of the edits, the facts of the first one are measured, and all facts so far. In the end the last rebuild is
held against the one batch. The figures go to --figures as JSON, and beside it as a plot.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from benchmarks.endurance_plot import draw
from errata.deltas import edited_weights
from errata.evaluation import Case, Record, evaluate
from errata.facts import FactSet
from errata.methods.method import Built
from errata.methods.sequential import sequential_builds
from errata.model import EditableModel
from errata.targets.store import BuildStore

FIGURES = Path(__file__).parents[1] / "docs" / "figures" / "endurance.json"
SHARES = ("efficacy", "efficacy_accuracy", "generalization", "specificity", "specificity_accuracy")
COLUMNS = [(scope, share) for scope in ("first", "all") for share in SHARES]

Point = dict[str, Any]
"""The measurements after an edit: `edits`, `seconds`, `drift`, and `first` and `all`, each with its shares by name."""


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits in a row of equally many facts, and how each of the facts is measured."""

    model: EditableModel
    cases: Sequence[Case]
    batches: Sequence[FactSet]

    @classmethod
    def of_records(cls, model: EditableModel, records: Sequence[Record], num_facts: int) -> Edits:
        """Take the records in their order, `num_facts` for each edit."""
        cases, facts = [record.case for record in records], [record.fact for record in records]
        batches = [FactSet(facts[first : first + num_facts]) for first in range(0, len(facts), num_facts)]
        return cls(model, cases, batches)

    @property
    def num_subjects_of_several(self) -> int:
        """The number of subjects in several edits, whose targets are searched for again."""
        of_each = [{fact.subject for fact in batch} for batch in self.batches]
        return sum(map(len, of_each)) - len(set().union(*of_each))

    def point(self, number: int, weights: Mapping[int, Tensor], seconds: float) -> Point:
        """Measure the model with `weights`, after edit `number`."""
        so_far = self.cases[: sum(map(len, self.batches[:number]))]
        point: Point = {"edits": number, "seconds": round(seconds, 1)}
        for name, cases in (("first", so_far[: len(self.batches[0])]), ("all", so_far)):
            measured = evaluate(self.model, cases, weights)
            point["drift"] = measured.drift
            point[name] = {share: measured.mean(share) for share in SHARES}
        return point


def main() -> None:
    after = [1, 5, 10, 20, 30, 40, 50]
    arguments = arguments_of(__doc__, threads=2, edits=50, facts=20, measured_after=after, figures=FIGURES)
    num_facts = arguments.edits * arguments.facts
    measured_after = {*arguments.measured_after, arguments.edits}

    demo = DemoEdits.load(num_facts)
    model, hyperparameters, contexts = demo.model, demo.hyperparameters, demo.contexts
    edits = Edits.of_records(model, demo.records, arguments.facts)
    print(f"{arguments.edits} edits of {arguments.facts} facts, records 0 to {num_facts - 1}; {hyperparameters}")
    print(f"subjects that come in several edits: {edits.num_subjects_of_several}\n", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        common = (hyperparameters, demo.moments)
        shares = [f"{scope}: {share.replace('_', ' ')}" for scope, share in COLUMNS]
        print_header("", "edits", *shares, "drift", "seconds")
        store = BuildStore(Path(folder))
        rebuilds = sequential_builds(model, edits.batches, *common, contexts=contexts, store=store)
        rebuilt, last = measured_in_a_row(edits, "rebuild", rebuilds, measured_after)
        stack = sequential_builds(model, edits.batches, *common, mode="stack", contexts=contexts)
        stacked, _ = measured_in_a_row(edits, "stack", stack, measured_after)
        seconds, whole = timed(lambda: demo.build(demo.facts))
        one_batch = edits.point(arguments.edits, edited_weights(model, whole.deltas), seconds)
        print_point("one batch", one_batch)

    agreement = differences(model, last, whole, rebuilt[-1], one_batch)
    print(f"\nthe last rebuild against the one batch: {agreement}")
    figures = {
        "records": [0, num_facts - 1],
        "facts_of_an_edit": arguments.facts,
        "hyperparameters": hyperparameters.as_dict(),
        "subjects_in_several_edits": edits.num_subjects_of_several,
        "rebuild": rebuilt,
        "stack": stacked,
        "one_batch": one_batch,
        "last_rebuild_against_one_batch": agreement,
    }
    arguments.figures.parent.mkdir(parents=True, exist_ok=True)
    arguments.figures.write_text(json.dumps(figures, indent=2) + "\n")
    print("written:", arguments.figures, *draw(arguments.figures))


def measured_in_a_row(
    edits: Edits, name: str, builds: Iterable[Built], measured_after: set[int]
) -> tuple[list[Point], Built]:
    """Measure after some of the edits; return the points, each with the seconds up to there, and the last build."""
    points: list[Point] = []
    seconds = 0.0
    began = time.perf_counter()
    for number, built in enumerate(builds, 1):
        seconds += time.perf_counter() - began
        if number in measured_after:
            points.append(edits.point(number, edited_weights(edits.model, built.deltas), seconds))
            print_point(name, points[-1])
        began = time.perf_counter()
    return points, built


def differences(model: EditableModel, last: Built, whole: Built, last_point: Point, one_batch: Point) -> dict[str, Any]:
    """Compare the last rebuild with the one batch: updates, edited matrices and measurements."""
    rebuilt, expected = edited_weights(model, last.deltas), edited_weights(model, whole.deltas)
    dense = {layer: (last.deltas[layer].dense(), delta.dense()) for layer, delta in whole.deltas.items()}
    return {
        "largest_relative_difference_of_an_update": max(
            float((one - other).norm() / other.norm()) for one, other in dense.values()
        ),
        "largest_difference_of_an_edited_element": max(
            float((rebuilt[layer] - expected[layer]).abs().max()) for layer in expected
        ),
        "largest_edited_element": max(float(matrix.abs().max()) for matrix in expected.values()),
        "largest_difference_of_a_share": max(
            abs(last_point[scope][share] - one_batch[scope][share]) for scope, share in COLUMNS
        ),
        "difference_of_drift": abs(last_point["drift"] - one_batch["drift"]),
    }


def print_point(name: str, point: Point) -> None:
    shares = [f"{100 * point[scope][share]:.1f}" for scope, share in COLUMNS]
    print_row(name, point["edits"], *shares, f"{point['drift']:.3f}", f"{point['seconds']:.0f}")


if __name__ == "__main__":
    main()
