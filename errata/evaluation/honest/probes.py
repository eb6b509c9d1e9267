"""The probes of a case: what is asked, and what would be right."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from errata.evaluation.cases import Case

Judgement = Literal["said", "kept"]
"""How an answer is judged.

said: the greedy text begins with what is expected, to the end of a word.
kept: it begins as the unedited model's does.
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt.

    Attributes:
        kind: one of KINDS, the metric that it counts for.
        prompt: what is asked.
        expected: what is right to say, any of these.
        space: whether a space stands between the prompt and what follows; unset, it goes by the prompt.
        preface: what stands before the prompt. A probe with another one asks the same.
    """

    kind: str
    prompt: str
    expected: tuple[str, ...]
    space: bool | None = None
    preface: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """What the model is given."""
        return self.preface + self.prompt


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of probe: which there are of a case, and how their answers are judged."""

    judged: Judgement
    probes: Callable[[Case, str], Iterator[Probe]]  # given the kind's name


def _said(case: Case, kind: str) -> Iterator[Probe]:
    yield Probe(kind, case.prompt, (case.new,), case.space)


def _paraphrases(case: Case, kind: str) -> Iterator[Probe]:
    for prompt in case.paraphrases:
        yield Probe(kind, prompt, (case.new,), case.space)


def _neighbors(case: Case, kind: str) -> Iterator[Probe]:
    for neighbor in case.neighbors:
        yield Probe(kind, neighbor.prompt, (neighbor.object,))


KINDS: Mapping[str, Kind] = {
    "said_freely": Kind("said", _said),
    "paraphrases_freely": Kind("said", _paraphrases),
    "neighbors_freely": Kind("kept", _neighbors),
}
"""All kinds, by the name of the metric that each gives."""
FREELY = ("said_freely", "paraphrases_freely", "neighbors_freely")
"""The kinds that the honest score is made of."""


@dataclass(frozen=True, slots=True)
class Honest:
    """Settings of what is asked.

    Attributes:
        kinds: those of KINDS that are asked, all by default.
    """

    kinds: tuple[str, ...] = tuple(KINDS)


def probes_of(case: Case, honest: Honest) -> list[Probe]:
    """Return all that a case is asked."""
    return [probe for kind in honest.kinds for probe in KINDS[kind].probes(case, kind)]
