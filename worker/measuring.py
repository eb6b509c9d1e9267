"""Measuring a version: its figures, how each of its facts took, and which probes it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from errata import evaluation
from errata.evaluation import Case, CaseResult
from errata.evaluation.contests import CaseOutcomes
from errata.facts import Fact
from errata.model import EditableModel
from errata.registry.records import FactOutcome, Metrics, NeighborBody, Probe
from worker.gate import Measured


def measure(
    model: EditableModel,
    facts: Sequence[Fact],
    weights: Mapping[int, Tensor],
    *,
    probes: tuple[Probe, ...],
    perplexity: bool,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """Measure the model with `weights`, layer -> edited matrix. What `on_progress` raises ends it."""
    cases = evaluation.cases_of(model, facts)
    before = evaluation.outcomes_of(model, [_bare(case) for case in cases])
    after = evaluation.evaluate(model, cases, weights, on_progress, texts=evaluation.PROSE if perplexity else ())
    means = {name: after.mean(name) for name in Metrics.model_fields if name in evaluation.METRICS}
    return Measured(
        metrics=Metrics(
            **means,
            drift=after.drift,
            perplexity_before=after.prose.perplexity_before if after.prose else None,
            perplexity_after=after.prose.perplexity_after if after.prose else None,
        ),
        facts=tuple(map(_outcome, facts, before, after.results)),
        probes=probes,
        wrong_answers=evaluation.wrong_answers(model, [(probe.prompt, probe.answer) for probe in probes], weights),
    )


def _bare(case: Case) -> Case:
    """The case as the base is asked: for the new object alone, and not after paraphrases and neighbours."""
    return replace(case, old=None, paraphrases=(), neighbors=())


def _outcome(fact: Fact, before: CaseOutcomes, after: CaseResult) -> FactOutcome:
    taking = evaluation.taking_of(before, after.outcomes)
    return FactOutcome(
        id=fact.id,
        subject=fact.subject,
        relation=fact.relation,
        object=fact.object,
        took=taking.is_answer,
        known=taking.was_answer,
        likelier=bool(after.outcomes.rewrite.is_likelier),
        probability_before=taking.probability_before,
        probability_after=taking.probability_after,
        paraphrases_followed=taking.paraphrases_after,
        neighbors_lost=tuple(
            NeighborBody(prompt=outcome.contest.prompt, object=outcome.contest.expected)
            for outcome in after.outcomes.neighbors
            if not outcome.is_likelier
        ),
    )
