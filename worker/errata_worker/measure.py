"""Measuring a version: its figures, how each of its facts took, and which probes it fails."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

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
    put_in: Collection[str],
    said_before: Collection[str] = (),
    probes: tuple[Probe, ...],
    perplexity: bool,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """Measure the model with `weights`, layer -> edited matrix. What `on_progress` raises ends it.

    `put_in` are the ids of the facts that the edit puts in, `said_before` those that the version it is made from says.
    """
    cases = evaluation.cases_of(model, facts)
    before = evaluation.outcomes_of(model, [_bare(case) for case in cases])
    texts = evaluation.PROSE if perplexity else ()
    after = evaluation.evaluate(model, cases, weights, on_progress, texts=texts)
    with model.using(weights):
        in_chat = evaluation.said_in_chat(model, facts, lambda: on_progress(len(facts), len(facts)))
    outcomes = [
        _outcome(fact, of_base, result, answered, was_said=fact.id in said_before and fact.id not in put_in)
        for fact, of_base, result, answered in zip(facts, before, after.results, in_chat, strict=True)
    ]
    said = [outcome.took for outcome in outcomes if outcome.id in put_in]
    kept = [outcome.took for outcome in outcomes if outcome.id in said_before and outcome.id not in put_in]
    answered = [share for share in in_chat if share is not None]
    metrics = _metrics(after).model_copy(
        update={
            "said": fmean(said) if said else None,
            "kept": fmean(kept) if kept else None,
            "said_in_chat": fmean(answered) if answered else None,
        }
    )
    of_edit = evaluation.estimates_of(
        [result for fact, result in zip(facts, after.results, strict=True) if fact.id in put_in]
    )
    shares = {name: of_edit[name].mean if name in of_edit else None for name in ("efficacy", "specificity")}
    return Measured(
        metrics=metrics,
        judged=metrics.model_copy(update=shares),
        facts=tuple(outcomes),
        put_in=frozenset(put_in),
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


def _outcome(
    fact: Fact, before: CaseOutcomes, after: CaseResult, said_in_chat: float | None, *, was_said: bool
) -> FactOutcome:
    taking = evaluation.taking_of(before, after.outcomes)
    return FactOutcome(
        id=fact.id,
        subject=fact.subject,
        relation=fact.relation,
        object=fact.object,
        took=taking.is_answer,
        lost=was_said and not taking.is_answer,
        known=taking.was_answer,
        likelier=bool(after.outcomes.rewrite.is_likelier),
        probability_before=taking.probability_before,
        probability_after=taking.probability_after,
        paraphrases_followed=taking.paraphrases_after,
        said_in_chat=said_in_chat,
        neighbors_lost=tuple(
            StoredNeighbor(prompt=outcome.prompt, object=outcome.expected)
            for outcome in after.outcomes.neighbors
            if not outcome.is_likelier
        ),
    )
