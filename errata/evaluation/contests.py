"""Contests of two objects after each prompt of a case: which one is likelier, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from errata.evaluation.cases import Case
from errata.files.json_figures import finite_or_none
from errata.model import EditableModel
from errata.model.likelihood import Likelihood, likelihoods


@dataclass(frozen=True, slots=True)
class Contest:
    """A prompt after which `expected` should be likelier than `other`; if that is None, nothing is compared."""

    prompt: str
    expected: str
    other: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one contest.

    An `nll` is the mean negative log probability of an object's tokens, in nats. It is NaN if the model has left the
    finite numbers; then the object neither wins nor counts as the model's answer.
    """

    contest: Contest
    nll_expected: float
    nll_other: float | None
    token_accuracy: float

    @property
    def probability(self) -> float:
        """The expected object's probability, as the geometric mean over its tokens: exp(-nll)."""
        return math.exp(-self.nll_expected)

    @property
    def is_answer(self) -> bool:
        """True if the model would say the expected object: the likeliest token at each place."""
        return self.token_accuracy == 1

    @property
    def is_likelier(self) -> bool | None:
        """True if the expected object wins; None if there is nothing to compare it with.

        If both objects are the same, it wins if the model says it.
        """
        if self.nll_other is None:
            return None
        return self.is_answer if self.contest.expected == self.contest.other else self.nll_expected < self.nll_other

    @property
    def magnitude(self) -> float | None:
        """The difference of the two probabilities; None if there is no other object."""
        return None if self.nll_other is None else self.probability - math.exp(-self.nll_other)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **asdict(self.contest),
            "nll_expected": finite_or_none(self.nll_expected),
            "nll_other": finite_or_none(self.nll_other),
            "token_accuracy": self.token_accuracy,
        }


@dataclass(frozen=True, slots=True)
class CaseOutcomes:
    """The outcomes of one case's prompts.

    The new object is expected after the edited prompt and its paraphrases, and their own objects after the neighbours.
    """

    rewrite: Outcome
    paraphrases: tuple[Outcome, ...]
    neighbors: tuple[Outcome, ...]


def outcomes_of(model: EditableModel, cases: Sequence[Case]) -> list[CaseOutcomes]:
    """Hold the contests of some cases, with the model as it is."""
    contests = [_contests(case) for case in cases]
    outcomes = iter(_hold(model, [contest for of_case in contests for contest in of_case]))
    return [
        CaseOutcomes(
            next(outcomes),
            tuple(islice(outcomes, len(case.paraphrases))),
            tuple(islice(outcomes, len(case.neighbors))),
        )
        for case in cases
    ]


def _contests(case: Case) -> list[Contest]:
    return [
        *(Contest(prompt, case.new, case.old) for prompt in (case.prompt, *case.paraphrases)),
        *(Contest(n.prompt, n.object, None if case.old is None else case.new) for n in case.neighbors),
    ]


def _hold(model: EditableModel, contests: Sequence[Contest]) -> list[Outcome]:
    pairs = {
        (contest.prompt, text): None
        for contest in contests
        for text in (contest.expected, contest.other)
        if text is not None
    }
    found = dict(zip(pairs, likelihoods(model, list(pairs)), strict=True))
    return [_outcome(contest, found) for contest in contests]


def _outcome(contest: Contest, found: dict[tuple[str, str], Likelihood]) -> Outcome:
    expected = found[contest.prompt, contest.expected]
    other = None if contest.other is None else found[contest.prompt, contest.other].nll
    return Outcome(contest, expected.nll, other, expected.token_accuracy)
