"""Finding targets: Errata's batched search against the plain loop, one fact at a time, on the same facts.

    python -m benchmarks.targets [--facts 100] [--layers "0;0,1,2"] [--threads 2]

The plain loop (tests/errata/plain_memit.py) follows the computation of MEMIT's authors: the rows of one fact, padded,
through the whole model in each step. The two take turns, a quarter of the facts each time for the loop and all of them
for the search, whose median is taken.
"""

from __future__ import annotations

import time
from statistics import median

import torch

from benchmarks.command import numbers, parsed, parser_for, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from errata.targets.search import find_targets
from tests.errata.plain_memit import plain_target

TURNS = 4
CLOSE = 1e-4


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--layers", default="0;0,1,2", help="sets of edited layers, separated by semicolons")
    arguments = parsed(parser)
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
        began = time.perf_counter()
        found = find_targets(model, edits.facts, contexts, hyperparameters)
        our_seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        plain = [plain_target(model, fact, contexts, hyperparameters) for fact in edits.facts[turn::TURNS]]
        plain_seconds += time.perf_counter() - began
        expected = torch.stack(plain)
        errors += ((found[turn::TURNS] - expected).norm(dim=1) / expected.norm(dim=1)).tolist()
    ours = median(our_seconds)
    close = sum(error <= CLOSE for error in errors) / len(errors)
    seconds = [f"{plain_seconds:.1f} s", f"{ours:.1f} s", f"{plain_seconds / ours:.1f}"]
    return [layers, *seconds, f"{close:.0%}", f"{max(errors):.1e}"]


if __name__ == "__main__":
    main()
