"""Contests of two objects after each prompt of a case: which one is likelier, and by how much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from errata.evaluation.cases import Case
from errata.model import EditableModel
from errata.model.likelihood import Likelihood, likelihoods


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one contest: a prompt after which `expected` should be likelier than `other`.

    If `other` is None, nothing is compared. An `nll` is the mean negative log probability of an object's tokens, in
    nats. It is NaN if the model has left the finite numbers; then the object neither wins nor counts as the model's
    answer. It `is_said` if the model says it by itself, and no longer word.
    """

    prompt: str
    expected: str
    other: str | None
    nll_expected: float
    nll_other: float | None
    token_accuracy: float
    is_said: bool

    @property
    def probability(self) -> float:
        """The expected object's probability, as the geometric mean over its tokens: exp(-nll)."""
        return math.exp(-self.nll_expected)

    @property
    def is_argmax(self) -> bool:
        """True if each of the expected object's tokens is the likeliest one at its place, whatever follows."""
        return self.token_accuracy == 1

    @property
    def is_likelier(self) -> bool | None:
        """True if the expected object wins; None if there is nothing to compare it with.

        If both objects are the same, it wins if its tokens are the likeliest ones.
        """
        if self.nll_other is None:
            return None
        return self.is_argmax if self.expected == self.other else self.nll_expected < self.nll_other

    @property
    def magnitude(self) -> float | None:
        """The difference of the two probabilities; None if there is no other object."""
        return None if self.nll_other is None else self.probability - math.exp(-self.nll_other)


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
    asked = [_asked(case) for case in cases]
    contestants = dict.fromkeys(
        (prompt, text, space)
        for of_case in asked
        for prompt, *texts, space in of_case
        for text in texts
        if text is not None
    )
    pairs, spaces = [(prompt, text) for prompt, text, _ in contestants], [space for *_, space in contestants]
    found = dict(zip(contestants, likelihoods(model, pairs, spaces), strict=True))
    return [_outcomes(of_case, len(case.paraphrases), found) for case, of_case in zip(cases, asked, strict=True)]


Asked = tuple[str, str, str | None, bool | None]


def _asked(case: Case) -> list[Asked]:
    """Return each prompt of a case, the object that is expected after it, the other one, and the case's `space`."""
    return [
        *((prompt, case.new, case.old, case.space) for prompt in (case.prompt, *case.paraphrases)),
        *((n.prompt, n.object, None if case.old is None else case.new, None) for n in case.neighbors),
    ]


def _outcomes(
    asked: Sequence[Asked], num_paraphrases: int, found: dict[tuple[str, str, bool | None], Likelihood]
) -> CaseOutcomes:
    outcomes = []
    for prompt, expected, other, space in asked:
        likelihood = found[prompt, expected, space]
        nll_other = None if other is None else found[prompt, other, space].nll
        shown = likelihood.nll, nll_other, likelihood.token_accuracy, likelihood.is_said
        outcomes.append(Outcome(prompt, expected, other, *shown))
    rewrite, *others = outcomes
    return CaseOutcomes(rewrite, tuple(others[:num_paraphrases]), tuple(others[num_paraphrases:]))
