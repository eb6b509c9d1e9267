"""What an edit did, in the metrics of CounterFact (section 5.2.2 of the MEMIT paper) and in drift.

Efficacy is the share of edited prompts after which the new object is likelier than the old one;
generalization the same after paraphrases; specificity the share of neighbourhood prompts, about other
subjects, after which their own object is likelier than the new one. The accuracies ask for more: that the
expected object, new or own, is what the model would say. The score is the harmonic mean of the first three.
Drift is the mean KL(base || edited) of the next token after a fixed set of unrelated prompts, in nats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, harmonic_mean

from torch import Tensor
from torch.nn.functional import kl_div

from errata.facts import Fact, Neighbor
from errata.likelihood import greedy_answers, likelihoods, next_token_log_probabilities
from errata.model import EditableModel
from errata.prompts import target_ids

UNRELATED_PROMPTS = tuple((Path(__file__).parent / "unrelated_prompts.txt").read_text().splitlines())
CASES_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class Case:
    """One edited fact with the prompts that measure it. `old` is what was said before."""

    prompt: str
    new: str
    old: str
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over cases, each None where no case has the prompts for it; shares are between 0 and 1."""

    efficacy: float | None
    efficacy_accuracy: float | None
    generalization: float | None
    generalization_accuracy: float | None
    specificity: float | None
    specificity_accuracy: float | None
    drift: float

    @property
    def score(self) -> float | None:
        """Harmonic mean of efficacy, generalization and specificity, None unless all three were measured."""
        shares = [share for share in (self.efficacy, self.generalization, self.specificity) if share is not None]
        return harmonic_mean(shares) if len(shares) == 3 else None


def cases_of(model: EditableModel, facts: Sequence[Fact]) -> list[Case]:
    """The cases of posted facts. The old object is what the base model says by itself, up to the end of its
    sentence or the length of the new object, whichever comes first."""
    num_tokens = [len(target_ids(model.tokenizer, fact.object)) for fact in facts]
    answers = greedy_answers(model, [fact.prompt for fact in facts], num_tokens)
    return [
        Case(fact.prompt, fact.object, _first_sentence(answer), fact.paraphrases, fact.neighbors)
        for fact, answer in zip(facts, answers, strict=True)
    ]


def evaluate(
    model: EditableModel,
    cases: Sequence[Case],
    weights: Mapping[int, Tensor],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Measure the model with `weights` in place of the base's edited matrices.

    Args:
        weights: layer -> edited matrix.
        on_progress: called with (cases done, cases in all). What it raises ends the evaluation.
    """
    with model.using(weights):
        outcomes: list[_Outcome] = []
        for start in range(0, len(cases), CASES_PER_BATCH):
            outcomes += _outcomes(model, cases[start : start + CASES_PER_BATCH])
            on_progress(len(outcomes), len(cases))
    return Measured(
        efficacy=_mean([outcome.rewrite.success for outcome in outcomes]),
        efficacy_accuracy=_mean([outcome.rewrite.accuracy for outcome in outcomes]),
        generalization=_mean([outcome.paraphrases.success for outcome in outcomes]),
        generalization_accuracy=_mean([outcome.paraphrases.accuracy for outcome in outcomes]),
        specificity=_mean([outcome.neighbors.success for outcome in outcomes]),
        specificity_accuracy=_mean([outcome.neighbors.accuracy for outcome in outcomes]),
        drift=drift(model, weights),
    )


def drift(model: EditableModel, weights: Mapping[int, Tensor], prompts: Sequence[str] = UNRELATED_PROMPTS) -> float:
    """Mean KL(base || edited) of the next token after `prompts`, in nats."""
    base = next_token_log_probabilities(model, prompts)
    with model.using(weights):
        edited = next_token_log_probabilities(model, prompts)
    return float(kl_div(edited, base, log_target=True, reduction="batchmean"))


@dataclass(frozen=True, slots=True)
class _Shares:
    """Over the prompts of one kind of one case; None where it has none."""

    success: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    rewrite: _Shares
    paraphrases: _Shares
    neighbors: _Shares


@dataclass(frozen=True, slots=True)
class _Contest:
    """After `prompt`, `expected` should be likelier than `other`."""

    prompt: str
    expected: str
    other: str


def _outcomes(model: EditableModel, cases: Sequence[Case]) -> list[_Outcome]:
    groups = [
        [_Contest(prompt, case.new, case.old) for prompt in prompts]
        for case in cases
        for prompts in ((case.prompt,), case.paraphrases)
    ] + [[_Contest(n.prompt, n.object, case.new) for n in case.neighbors] for case in cases]
    shares = _shares(model, groups)
    rewrites, paraphrases = shares[: 2 * len(cases) : 2], shares[1 : 2 * len(cases) : 2]
    return [_Outcome(*three) for three in zip(rewrites, paraphrases, shares[2 * len(cases) :], strict=True)]


def _shares(model: EditableModel, groups: Sequence[Sequence[_Contest]]) -> list[_Shares]:
    contests = [contest for group in groups for contest in group]
    expected = likelihoods(model, [(contest.prompt, contest.expected) for contest in contests])
    other = likelihoods(model, [(contest.prompt, contest.other) for contest in contests])
    # Where both are one object there is nothing to be likelier than: it must be what the model says.
    won = [
        mine.is_argmax if contest.expected == contest.other else mine.nll < theirs.nll
        for contest, mine, theirs in zip(contests, expected, other, strict=True)
    ]
    accurate = [likelihood.is_argmax for likelihood in expected]
    shares, start = [], 0
    for group in groups:
        end = start + len(group)
        shares.append(_Shares(_mean(won[start:end]), _mean(accurate[start:end])))
        start = end
    return shares


def _first_sentence(answer: str) -> str:
    """The answer up to the end of a sentence or line in it; all of it where nothing would be left."""
    return re.split(r"[.!?\n]", answer, maxsplit=1)[0].strip() or answer


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
