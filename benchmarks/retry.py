"""Facts that did not take, searched for again: which settings of the search make them take.

    python -m benchmarks.retry [--facts 200] [--first 0] [--threads 2]

The demo model is edited with the facts from record `--first` on, as shipped. Then the facts that it does not say, and
those about the same subjects, are searched for again with each of the settings, and all facts are written anew with
what was found.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import DemoEdits
from errata.evaluation import Evaluation, cases_of
from errata.facts import FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.targets.store import BuildStore

SHARES = ("efficacy", "generalization", "specificity")


def main() -> None:
    arguments = arguments_of(__doc__, threads=2, facts=200, first=0)
    edits = DemoEdits.load(arguments.first + arguments.facts)
    facts = list(FactSet(edits.facts[arguments.first :]))
    cases = cases_of(edits.model, facts)
    print_header("search of what did not take", "take of them", "no more", *SHARES, "drift")
    with tempfile.TemporaryDirectory() as folder:
        store = BuildStore(Path(folder))
        shipped = edits.measure(edits.build(facts, store), cases)
        before = taking(shipped)
        print_row(*row("as shipped", shipped, before, before))
        again = {fact.subject for fact, took in zip(facts, before, strict=True) if not took}
        for name, search in searches(edits.hyperparameters).items():
            harder = [replace(fact, search=search) if fact.subject in again else fact for fact in facts]
            evaluation = edits.measure(edits.build(harder, store), cases)
            print_row(*row(name, evaluation, before, taking(evaluation)))


def searches(shipped: MemitHyperparameters) -> dict[str, dict[str, Any]]:
    """Return the settings to try, by name; the last is what a retry does by itself."""
    more_steps, more_room = {"num_steps": 2 * shipped.num_steps}, {"clamp": 2 * shipped.clamp}
    looser = {"weight_decay": shipped.weight_decay / 10, "kl_factor": shipped.kl_factor / 4}
    lower_loss = {"stop_loss": shipped.stop_loss / 10}
    return {
        "twice the steps": more_steps,
        "twice the clamp": more_room,
        "a tenth of the weight decay, a quarter of the KL": looser,
        "a tenth of the stop loss": lower_loss,
        "twice the steps and the clamp": more_steps | more_room,
        "twice the steps and the clamp, looser": more_steps | more_room | looser,
        "twice the steps and the clamp, looser, a tenth of the stop loss": more_steps | more_room | looser | lower_loss,
        "**twice the steps and the clamp, a tenth of the stop loss**": shipped.stronger(),
    }


def taking(evaluation: Evaluation) -> list[bool]:
    """Return, for each fact, True if it took."""
    return [result.outcomes.rewrite.is_said for result in evaluation.results]


def row(name: str, evaluation: Evaluation, before: Sequence[bool], now: Sequence[bool]) -> list[str]:
    """Count the facts that take only now, and those that took only before; return them with the figures."""
    won = sum(took and not took_before for took, took_before in zip(now, before, strict=True))
    lost = sum(took_before and not took for took, took_before in zip(now, before, strict=True))
    figures = ["-" if (mean := evaluation.mean(share)) is None else f"{mean:.1%}" for share in SHARES]
    return [name, f"{won} of {before.count(False)}", f"{lost}", *figures, f"{evaluation.drift:.3f}"]


if __name__ == "__main__":
    main()
