"""The measurements of each case and of all together, under the names of METRICS.

There are four metrics for each kind of prompt. `efficacy` is measured on the edited prompt, `generalization` on
paraphrases, `specificity` on neighbours. The plain name is the share of prompts after which the expected object is
likelier than the other one; the endings `_accuracy`, `_token_accuracy` and `_magnitude` name the rest. A case's prompts
are averaged first, then cases. What critics ask gives metrics of its own, by the kinds of its probes (`honest`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import fmean
from typing import Any

from errata.evaluation.contests import CaseOutcomes, Outcome
from errata.evaluation.drift import ProseDrift
from errata.evaluation.honest import FREELY, KINDS, Answer
from errata.evaluation.intervals import Estimate, harmonic_mean_over, mean_over, share_over
from errata.files.json_figures import with_nulls

EXACT = "_exact"
_KINDS = ("efficacy", "generalization", "specificity")
_OF_ANSWERS = tuple(kind + ending for kind in KINDS for ending in ("", EXACT))
_SHARES = (
    *(kind + ending for kind in _KINDS for ending in ("", "_accuracy", "_token_accuracy")),
    *_OF_ANSWERS,
)
_MEANS = (*(f"{kind}_magnitude" for kind in _KINDS), "fluency", "consistency")
_SCORES = {
    "score": _KINDS,
    "token_score": tuple(f"{kind}_token_accuracy" for kind in _KINDS),
    "honest_score": FREELY,
}
METRICS = (*_SHARES, *_MEANS, *_SCORES)


@dataclass(frozen=True, slots=True)
class Generated:
    """The texts of one case, with their fluency in bits, and their similarity to the references if it has any."""

    texts: tuple[str, ...]
    fluency: float
    consistency: float | None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The measurements of one case."""

    case_id: int | str | None
    outcomes: CaseOutcomes
    generated: Generated | None
    answers: tuple[Answer, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that this case has, averaged over its prompts."""
        by_kind = ((self.outcomes.rewrite,), self.outcomes.paraphrases, self.outcomes.neighbors)
        metrics = {
            kind + ending: value
            for kind, outcomes in zip(_KINDS, by_kind, strict=True)
            if outcomes
            for ending, value in _averaged(outcomes).items()
        }
        if self.generated:
            metrics["fluency"] = self.generated.fluency
            if self.generated.consistency is not None:
                metrics["consistency"] = self.generated.consistency
        for kind, answers in groupby(self.answers, lambda answer: answer.kind):
            of_kind = list(answers)
            metrics[kind] = fmean(answer.is_right for answer in of_kind)
            if exact := [answer.is_exact for answer in of_kind if answer.is_exact is not None]:
                metrics[kind + EXACT] = fmean(exact)
        return metrics

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values: the metrics, and the prompts and texts that they come from."""
        return {
            "case_id": self.case_id,
            "metrics": with_nulls(self.metrics),
            **with_nulls(self.outcomes),
            "texts": list(self.generated.texts) if self.generated else [],
            "answers": with_nulls(self.answers),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measurements of an edited model."""

    results: tuple[CaseResult, ...] = field(repr=False)  # of each case, in their order
    estimates: dict[str, Estimate]  # of those of METRICS that could be measured, over the cases that have them
    drift: float  # KL(base || edited) after unrelated prompts, in nats
    prose: ProseDrift | None  # the same at every place of running texts, and perplexities, where they were asked for

    def mean(self, name: str) -> float | None:
        """Return the mean of one of METRICS; None if it was not measured."""
        if name not in METRICS:
            raise KeyError(name)
        return self.estimates[name].mean if name in self.estimates else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values of everything but the single cases. A figure that is not finite is null."""
        return {
            "num_cases": len(self.results),
            **{name: with_nulls(getattr(self, name)) for name in ("estimates", "drift", "prose")},
        }

    def json_lines(self) -> Iterator[str]:
        """Yield each case as a line of JSON, with its place as `index`. A figure that is not finite is null."""
        for index, result in enumerate(self.results):
            yield json.dumps({"index": index, **result.as_dict()}, ensure_ascii=False, allow_nan=False)


def estimates_of(results: Sequence[CaseResult]) -> dict[str, Estimate]:
    """Return the mean over cases of each metric that some of them have."""
    return estimates_over([result.metrics for result in results])


def estimates_over(by_case: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Return the same for cases of which the `metrics` were kept."""
    columns = {name: [metrics.get(name) for metrics in by_case] for name in (*_SHARES, *_MEANS)}
    estimates = {}
    for name, column in columns.items():
        if known := [value for value in column if value is not None]:
            estimates[name] = share_over(known) if name in _SHARES else mean_over(known)
    for score, parts in _SCORES.items():
        if all(part in estimates for part in parts):
            estimates[score] = harmonic_mean_over([columns[part] for part in parts])
    return estimates


def _averaged(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Average the outcomes of one kind of prompt, by the ending of the metric's name."""
    values: dict[str, list[float | None]] = {
        "": [outcome.is_likelier for outcome in outcomes],
        "_accuracy": [outcome.is_argmax for outcome in outcomes],
        "_token_accuracy": [outcome.token_accuracy for outcome in outcomes],
        "_magnitude": [outcome.magnitude for outcome in outcomes],
    }
    known = {ending: [value for value in of_all if value is not None] for ending, of_all in values.items()}
    return {ending: fmean(of_all) for ending, of_all in known.items() if of_all}
