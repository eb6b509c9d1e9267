"""The edits of the campaign: facts to edit in, and what the client of an edit knows of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from errata_registry.bucket.commits import DONE, UNKNOWN

from benchmarks.demo_edits import demo_records
from benchmarks.faults.api import Answer, Api
from errata.facts import Fact

NUM_DRAWN = 120  # few, so that edits meet on the same facts
ANYHOW: dict[str, Any] = {"partial": True, "tries": 1, "gate": {"max_drift": None}}  # whatever comes of it
QUICK = {"num_steps": 6}


class Facts:
    """Counterfactual facts of the demo world."""

    def __init__(self) -> None:
        self._facts = [record.fact for record in demo_records()]
        self._objects: defaultdict[str, set[str]] = defaultdict(set)
        for fact in self._facts:
            self._objects[fact.relation].add(fact.object)

    def first(self, number: int, skip: int = 0) -> list[Fact]:
        return self._facts[skip : skip + number]

    def draw(self, rng: Random, number: int) -> list[Fact]:
        """Draw facts with any object of their relation."""
        drawn = rng.sample(self._facts[:NUM_DRAWN], number)
        return [Fact(one.subject, one.relation, rng.choice(sorted(self._objects[one.relation]))) for one in drawn]


@dataclass
class SentEdit:
    """An edit as its client knows it.

    Attributes:
        note: what it is found by in the home folder.
        retract: ids of the facts that it withdraws.
        options: what else is sent.
        ids: the ids that it was accepted with, one for each time.
        errors: the errors that it was answered with.
        times: how often it was sent.
        unanswered: whether there was no answer, or the service had none, at least once: then nobody knows.
    """

    note: str
    facts: Sequence[Fact]
    retract: Sequence[str]
    key: str | None
    options: dict[str, Any]
    ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    times: int = 0
    unanswered: bool = False

    def send(self, api: Api, service: str) -> Answer:
        """Send it once."""
        facts = [{"subject": one.subject, "relation": one.relation, "object": one.object} for one in self.facts]
        body = {"facts": facts, "note": self.note, **({"retract": self.retract} if self.retract else {})}
        answer = api.ask(service, "POST /edits", {**body, **self.options}, key=self.key)
        self.times += 1
        if answer.ok:
            self.ids.append(answer["id"])
        elif answer.status == 0 or any(words in str(answer["detail"]) for words in (DONE, UNKNOWN)):
            self.unanswered = True
        else:
            self.errors.append(str(answer))
        return answer
