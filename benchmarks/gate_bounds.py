"""What honest edits and wrecking settings do to drift and perplexity: what the gate's default bounds are chosen by.

    python -m benchmarks.gate_bounds [--threads 2] [--most 300]

The demo model is edited with 1 to `--most` facts as shipped, then with what the worker tries last where facts were not
said, then with settings that wreck it: many times the clamp, hardly any weight for ordinary text.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from errata.deltas import edited_weights
from errata.evaluation import PROSE, cases_of, evaluate
from errata.evaluation.drift import drift, prose_drift
from errata.hyperparameters import MemitHyperparameters

EDITS = (1, 10, 100, 300)


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, most=300)
    edits = DemoEdits.load(arguments.most)
    print_header("settings", "facts", "said", "drift", "perplexity rise", "seconds: drift", "and prose")
    for name, changes, count in settings(edits.hyperparameters, arguments.most):
        of_these = replace(edits, hyperparameters=edits.hyperparameters.overridden(changes))
        facts = edits.facts[:count]
        weights = edited_weights(edits.model, of_these.build(facts, moments=edits.moments).deltas)
        measured = evaluate(edits.model, cases_of(edits.model, facts), weights)
        said = sum(result.outcomes.rewrite.is_said for result in measured.results)
        drift_s, nats = timed(lambda weights=weights: drift(edits.model, weights))
        prose_s, prose = timed(lambda weights=weights: prose_drift(edits.model, weights, PROSE))
        rise = prose.perplexity_after / prose.perplexity_before - 1
        print_row(name, count, said, f"{nats:.4f}", f"{rise:+.2%}", f"{drift_s:.2f}", f"{prose_s:.2f}")


def settings(shipped: MemitHyperparameters, most: int) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield what to edit with, by name, and how many facts."""
    twice = shipped.overridden(shipped.stronger()).stronger()
    counts = [count for count in EDITS if count <= most]
    for count in counts:
        yield "shipped", {}, count
    for count in counts[:3]:
        yield "last try", {**twice, "refinement_steps": 10}, count
    for count in counts[:3]:
        yield "wreck: clamp 20, lambda 0.1", {"clamp": 20, "moment_weight": 0.1}, count
    for count in counts[:3]:
        yield "wreck: clamp 100, no decay", {"clamp": 100, "weight_decay": 0, "kl_factor": 0, "stop_loss": 0}, count


if __name__ == "__main__":
    main()
