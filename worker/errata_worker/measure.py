"""Measuring a version: its figures, how each of its facts took, and which probes it fails."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from errata_client.records import FactOutcome, Metrics, Probe, StoredNeighbor
from torch import Tensor

from errata import evaluation
from errata.evaluation import Case, CaseResult, Evaluation
from errata.evaluation.contests import CaseOutcomes
from errata.facts import Fact
from errata.model import EditableModel
from errata.model.likelihood import gives_finite_numbers
from errata_worker.gate import Measured


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
    texts = evaluation.PROSE if perplexity else ()
    after = evaluation.evaluate(model, cases, weights, on_progress, texts=texts)
    return Measured(
        metrics=_metrics(after),
        facts=tuple(map(_outcome, facts, before, after.results)),
        probes=probes,
        wrong_answers=wrong_answers(model, weights, probes),
        is_finite=gives_finite_numbers(model, weights),
    )


def wrong_answers(model: EditableModel, weights: Mapping[int, Tensor], probes: Sequence[Probe]) -> dict[int, str]:
    """Return what the model with `weights` says instead of the answers of those probes that it fails, by place."""
    return evaluation.wrong_answers(model, [(probe.prompt, probe.answer) for probe in probes], weights)


def _metrics(after: Evaluation) -> Metrics:
    means = {name: after.mean(name) for name in Metrics.model_fields if name in evaluation.METRICS}
    return Metrics(
        **means,
        drift=after.drift,
        perplexity_before=after.prose.perplexity_before if after.prose else None,
        perplexity_after=after.prose.perplexity_after if after.prose else None,
    )


def _bare(case: Case) -> Case:
    """Return the case as the base is asked: for the new object alone, and not after paraphrases and neighbours."""
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
            StoredNeighbor(prompt=outcome.prompt, object=outcome.expected)
            for outcome in after.outcomes.neighbors
            if not outcome.is_likelier
        ),
    )
