"""What honest edits and wrecking settings do to drift and perplexity: what the gate's default bounds are chosen by.

    python -m benchmarks.gate_bounds [--threads 2] [--most 300] [--only wreck]

The demo model is edited with 1 to `--most` facts as shipped, then with what the worker tries last where facts were not
said, then with settings that wreck it.
"""

from collections.abc import Iterator
from functools import partial

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.demo_edits import DemoEdits
from errata.deltas import edited_weights
from errata.evaluation import PROSE, cases_of, drift, evaluate, prose_drift
from errata.facts import FactSet
from errata.hyperparameters import FineTuningHyperparameters, Hyperparameters, MemitHyperparameters
from errata.hyperparameters.records import FIRST_REFINEMENT_STEPS
from errata.methods import METHODS


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, most=300, only="")
    edits = DemoEdits.load(arguments.most)
    model = edits.model
    print_header("settings", "facts", "said", "drift", "perplexity rise", "seconds: drift", "and prose")
    for name, hyperparameters, count in settings(edits.hyperparameters):
        if count > arguments.most or arguments.only not in name:
            continue
        facts = FactSet(edits.facts[:count])
        method = METHODS[hyperparameters.method]
        built = method(model, facts, hyperparameters, edits.moments, contexts=edits.contexts)
        weights = edited_weights(model, built.deltas)
        results = evaluate(model, cases_of(model, list(facts)), weights).results
        drift_s, nats = timed(partial(drift, model, weights))
        prose_s, prose = timed(partial(prose_drift, model, weights, PROSE))
        said = sum(result.outcomes.rewrite.is_said for result in results)
        rise = prose.perplexity_after / prose.perplexity_before - 1
        print_row(name, count, said, f"{nats:.4f}", f"{rise:+.2%}", f"{drift_s:.2f}", f"{prose_s:.2f}")


def settings(shipped: MemitHyperparameters) -> Iterator[tuple[str, Hyperparameters, int]]:
    """Yield what to edit with, by name, and how many facts."""
    for count in (1, 10, 100, 300):
        yield "shipped", shipped, count
    strongest = shipped.overridden(shipped.stronger()).stronger()
    last_try = shipped.overridden({**strongest, "refinement_steps": FIRST_REFINEMENT_STEPS})
    for count in (1, 10):
        yield "last try", last_try, count
    far, free = {"clamp": 20, "moment_weight": 0.1}, {"weight_decay": 0, "kl_factor": 0, "stop_loss": 0}
    for count in (3, 30):
        yield "wreck: memit, clamp 20, lambda 0.1, no decay", shipped.overridden(far | free), count
    for rate, steps in ((0.1, 5), (0.01, 25), (0.001, 25)):
        tuned = FineTuningHyperparameters(layers=(0,), norm_bound=1, learning_rate=rate, num_steps=steps)
        yield f"wreck: ft, norm bound 1, learning rate {rate}", tuned, 3


if __name__ == "__main__":
    main()
