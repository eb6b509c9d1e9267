"""Well-known facts by relation, each relation with prompts, from `well_known.json`."""

import json
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
