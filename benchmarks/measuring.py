"""Measuring a version: the figures alone, each fact before and after as well, and perplexity on top.

    python -m benchmarks.measuring [--facts 100] [--threads 1]

Processor seconds, the median of three turns. The edit is made with few steps: it costs the same to measure.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from errata_worker.measure import measure

from benchmarks.command import parsed, parser_for, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from errata import evaluation
from errata.deltas import edited_weights
from errata.facts import FactSet
from errata.methods.memit import build

TURNS = 3


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--facts", type=int, default=100)
    arguments = parsed(parser)
    edits = DemoEdits.load(arguments.facts)
    model, facts = edits.model, FactSet(edits.facts)
    with tempfile.TemporaryDirectory() as folder:
        hyperparameters = edits.hyperparameters.overridden({"num_steps": 3})
        moments = edits.second_moments(Path(folder))
        built = build(model, facts, hyperparameters, moments, contexts=edits.contexts)
    weights = edited_weights(model, built.deltas)

    def figures() -> None:
        evaluation.evaluate(model, evaluation.cases_of(model, list(facts)), weights)

    def whole(perplexity: bool) -> None:
        measure(model, list(facts), weights, probes=(), perplexity=perplexity, on_progress=lambda done, total: None)

    ways = {
        "figures alone": figures,
        "and each fact, before and after": lambda: whole(False),
        "and perplexity": lambda: whole(True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    figures()  # to warm up
    for _ in range(TURNS):
        for name, way in ways.items():
            seconds[name].append(processor_seconds(way))
    print_header("measured", "processor seconds")
    for name, turns in seconds.items():
        print_row(name, f"{median(turns):.2f}")


def processor_seconds(way: Callable[[], None]) -> float:
    """Return the processor seconds that a call takes."""
    began = time.process_time()
    way()
    return time.process_time() - began


if __name__ == "__main__":
    main()
