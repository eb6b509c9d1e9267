"""Finding targets: Errata's batched search against the plain loop, one fact at a time, on the same facts.

    python -m benchmarks.targets [--facts 100] [--layers "0;0,1,2"] [--threads 2]

The plain loop (tests/errata/plain_memit.py) follows the computation of MEMIT's authors: the rows of one fact, padded,
through the whole model in each step. The two take turns, a quarter of the facts each time for the loop and all of them
for the search, whose median is taken.
"""

from functools import partial
from statistics import median

from benchmarks.command import arguments_of, numbers, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from errata.targets.search import find_targets
from tests.errata.plain_memit import plain_target

TURNS = 4
CLOSE = 1e-4


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, facts=100, layers="0;0,1,2")
    print(f"{arguments.facts} facts, {arguments.threads} threads\n")
    print_header("layers", "plain loop", "Errata", "times as fast", "z within 1e-4", "largest relative error")
    for layers in arguments.layers.split(";"):
        print_row(*row(DemoEdits.load(arguments.facts, numbers(layers)), layers))


def row(edits: DemoEdits, layers: str) -> list[str]:
    """Time both ways in turns; return a row of the table."""
    model, contexts, hyperparameters = edits.model, edits.contexts, edits.hyperparameters
    short = hyperparameters.overridden({"num_steps": 2})  # to warm up
    find_targets(model, edits.facts[:8], contexts, short)
    plain_target(model, edits.facts[0], contexts, short)
    errors: list[float] = []
    plain_seconds, our_seconds = 0.0, []
    for turn in range(TURNS):
        seconds, found = timed(partial(edits.targets, edits.facts))
        our_seconds.append(seconds)
        for number in range(turn, len(edits.facts), TURNS):
            seconds, expected = timed(partial(plain_target, model, edits.facts[number], contexts, hyperparameters))
            plain_seconds += seconds
            errors.append(float((found[number] - expected).norm() / expected.norm()))
    ours = median(our_seconds)
    close = sum(error <= CLOSE for error in errors) / len(errors)
    times = [f"{plain_seconds:.1f} s", f"{ours:.1f} s", f"{plain_seconds / ours:.1f}"]
    return [layers, *times, f"{close:.0%}", f"{max(errors):.1e}"]


if __name__ == "__main__":
    main()
