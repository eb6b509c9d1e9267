"""Which facts took: each fact before an edit and after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from errata.evaluation.contests import CaseOutcomes, Outcome
from errata.evaluation.results import CaseResult, Evaluation


@dataclass(frozen=True, slots=True)
class Taking:
    """One fact's probabilities and answers before and after an edit, which show if it took."""

    case_id: int | str | None
    prompt: str
    object: str
    # of the new object after the edited prompt, by the base; exp of the mean log probability of its tokens
    probability_before: float
    probability_after: float  # the same by the edited model
    was_answer: bool  # whether the base would have said it already, and no longer word
    is_answer: bool  # whether the edited model says it, and no longer word: the fact took
    # the share of paraphrases after which the base would have said it; None without any
    paraphrases_before: float | None
    paraphrases_after: float | None  # the share after which the edited model says it


def facts_that_took(before: Evaluation, after: Evaluation) -> list[Taking]:
    """Compare each case's results by the base and by the edited model, in the cases' order.

    Raises:
        ValueError: they are not of the same cases.
    """
    asked = [[_asked(result) for result in one.results] for one in (before, after)]
    if asked[0] != asked[1]:
        raise ValueError("the two evaluations are of different cases")
    return [
        taking_of(base.outcomes, edited.outcomes, edited.case_id)
        for base, edited in zip(before.results, after.results, strict=True)
    ]


def _asked(result: CaseResult) -> tuple[str, str, str | None]:
    rewrite = result.outcomes.rewrite
    return rewrite.prompt, rewrite.expected, rewrite.other


def taking_of(before: CaseOutcomes, after: CaseOutcomes, case_id: int | str | None = None) -> Taking:
    """Compare the outcomes of one case by the base and by the edited model."""
    return Taking(
        case_id=case_id,
        prompt=after.rewrite.prompt,
        object=after.rewrite.expected,
        probability_before=before.rewrite.probability,
        probability_after=after.rewrite.probability,
        was_answer=before.rewrite.is_said,
        is_answer=after.rewrite.is_said,
        paraphrases_before=_share_of_answers(before.paraphrases),
        paraphrases_after=_share_of_answers(after.paraphrases),
    )


def _share_of_answers(paraphrases: Sequence[Outcome]) -> float | None:
    return fmean(outcome.is_said for outcome in paraphrases) if paraphrases else None
