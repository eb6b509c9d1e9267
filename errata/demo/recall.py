"""Measure what the demo model knows: `python -m errata.demo.recall` prints recall by relation.

A fact is recalled if every token of its object is the model's first choice after the prompt.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from errata.demo import MODEL_FOLDER
from errata.demo.world import World, load_world
from errata.model import EditableModel
from errata.model.likelihood import likelihoods

Question = tuple[str, str]
"""A prompt and the object that should follow it."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of asking for every fact, and the least recall (a share) that the demo model must show."""

    name: str
    questions: tuple[Question, ...]  # one for each fact of the world, in its order
    least_recall: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="folder of the model")
    arguments = parser.parse_args()
    world = load_world()
    model = EditableModel.load(str(arguments.model))
    ways = ways_of_asking(world)
    recalled = {way.name: recalls(model, way.questions) for way in ways}
    print(table(world, recalled))
    missed = [way for way in ways if _share(recalled[way.name]) < way.least_recall]
    for way in missed:
        print(f"{way.name}: recall is below {way.least_recall:.0%}")
    sys.exit(1 if missed else 0)


def ways_of_asking(world: World) -> tuple[Way, ...]:
    """Ask for each fact in its edit phrasing, in its held-out phrasing, and after an unrelated sentence."""
    draw = random.Random(0)
    edit, held_out, after_unrelated = [], [], []
    for fact in world.facts:
        prompt = fact.prompt(fact.relation.edit_phrasing)
        edit.append((prompt, fact.object))
        held_out.append((fact.prompt(fact.held_out_phrasing), fact.object))
        after_unrelated.append((f"{draw.choice(world.unrelated)} {prompt}", fact.object))
    return (
        Way("edit phrasing", tuple(edit), 0.99),
        Way("held-out phrasing", tuple(held_out), 0.97),
        Way("after unrelated", tuple(after_unrelated), 0.95),
    )


def recalls(model: EditableModel, questions: Sequence[Question]) -> list[bool]:
    """Return, for each question, True if the model says the object, and no longer word."""
    return [answer.is_said for answer in likelihoods(model, questions)]


def table(world: World, recalled: dict[str, list[bool]]) -> str:
    """Return recall in percent by relation and overall. `recalled` holds one answer to each fact, by way of asking."""
    lines = [f"{'relation':<28}{'facts':>7}" + "".join(f"{name:>20}" for name in recalled)]
    for relation in world.relations:
        indices = [index for index, fact in enumerate(world.facts) if fact.relation == relation]
        of_relation = {name: [answers[index] for index in indices] for name, answers in recalled.items()}
        lines.append(_line(relation.id, of_relation))
    lines.append(_line("all", recalled))
    return "\n".join(lines)


def _line(name: str, recalled: dict[str, list[bool]]) -> str:
    num_facts = len(next(iter(recalled.values())))
    shares = "".join(f"{100 * _share(answers):>18.1f} %" for answers in recalled.values())
    return f"{name:<28}{num_facts:>7}{shares}"


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers)


if __name__ == "__main__":
    main()
