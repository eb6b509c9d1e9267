"""Measuring a version: the figures alone, each fact before and after as well, and perplexity on top.

    python -m benchmarks.measuring [--facts 100] [--threads 1]

Processor seconds, the median of three turns. The edit is made with few steps: it costs the same to measure.
"""

from dataclasses import replace
from statistics import median
from time import process_time

from errata_worker.measure import measure

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from errata import evaluation
from errata.deltas import edited_weights
from errata.facts import FactSet

TURNS = 3


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, facts=100)
    edits = DemoEdits.load(arguments.facts)
    model, facts = edits.model, list(FactSet(edits.facts))
    quick = replace(edits, hyperparameters=edits.hyperparameters.overridden({"num_steps": 3}))
    weights = edited_weights(model, quick.build(facts).deltas)

    def figures() -> None:
        evaluation.evaluate(model, evaluation.cases_of(model, facts), weights)

    def whole(perplexity: bool) -> None:
        put_in = [fact.id for fact in facts]
        measure(
            model, facts, weights, put_in=put_in, probes=(), perplexity=perplexity, on_progress=lambda done, total: None
        )

    ways = {
        "figures alone": figures,
        "and each fact, before and after": lambda: whole(False),
        "and perplexity": lambda: whole(True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    figures()  # to warm up
    for _ in range(TURNS):
        for name, way in ways.items():
            seconds[name].append(timed(way, process_time)[0])
    print_header("measured", "processor seconds")
    for name, turns in seconds.items():
        print_row(name, f"{median(turns):.2f}")


if __name__ == "__main__":
    main()
