"""Well-known facts by relation, each relation with prompts, from `well_known.json`."""

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from errata.facts import PLACEHOLDER

_FILE = Path(__file__).with_name("well_known.json")


@dataclass(frozen=True, slots=True)
class Relation:
    """Well-known facts of one kind, and the prompts that ask for them."""

    name: str
    template: str
    paraphrases: tuple[str, ...]
    facts: dict[str, str]  # the object of each subject

    def prompt(self, subject: str) -> str:
        """Return what the object should follow."""
        return self.template.replace(PLACEHOLDER, subject)


@cache
def well_known() -> tuple[Relation, ...]:
    """Return the relations of `well_known.json`."""
    return tuple(Relation(**{**one, "paraphrases": tuple(one["paraphrases"])}) for one in json.loads(_FILE.read_text()))


def sentences() -> list[str]:
    """Return each fact in each of its relation's wordings, the relations mixed, in the same order each time."""
    said = [
        f"{template.replace(PLACEHOLDER, subject)} {object}."
        for relation in well_known()
        for subject, object in relation.facts.items()
        for template in (relation.template, *relation.paraphrases)
    ]
    random.Random(0).shuffle(said)
    return said
