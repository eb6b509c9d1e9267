"""The gate: what a version must reach to go live, its figures and the probes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from errata_client.records import FactOutcome, Gate, Metrics, Miss, MissedPrompt, Probe, Problem, finite_or_none
from errata_registry.problems import problem
from errata_registry.versions.change import MOST_SHOWN

from errata.facts import Fact


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a version.

    Attributes:
        metrics: its figures.
        facts: how each fact took.
        wrong_answers: what it says instead of the answers of those probes that it fails, by their places.
        is_finite: whether it gives finite numbers, without which no service would serve it.
    """

    metrics: Metrics
    facts: tuple[FactOutcome, ...]
    probes: tuple[Probe, ...] = ()
    wrong_answers: Mapping[int, str] = field(default_factory=dict)
    is_finite: bool = True

    @property
    def num_not_taken(self) -> int:
        """Number of facts that the version does not say."""
        return sum(not fact.took for fact in self.facts)


def problem_of(gate: Gate, measured: Measured) -> Problem | None:
    """Return what keeps a version from going live, with the facts and prompts to blame; None where it may.

    A bound on something that was not measured, or that is no finite number, is missed. A version without facts is the
    base, of which no figure is asked; the probes hold for it, too. One that gives no finite numbers may never go live.
    """
    missed = [*_missed_figures(gate, measured)] if measured.facts else []
    if measured.wrong_answers:
        missed.append(_missed_probes(measured))
    if not missed:
        return None if measured.is_finite else problem(422, "not-finite", "the version gives no finite numbers")
    detail = "; ".join(words for _, words in missed)
    return problem(422, "gate-missed", detail, misses=[miss for miss, _ in missed])


def _missed_figures(gate: Gate, measured: Measured) -> Iterator[tuple[Miss, str]]:
    metrics = measured.metrics
    not_likelier = [
        MissedPrompt(prompt=Fact(fact.subject, fact.relation, fact.object).prompt, expected=fact.object, fact=fact.id)
        for fact in measured.facts
        if not fact.likelier
    ]
    lost = [
        MissedPrompt(prompt=neighbor.prompt, expected=neighbor.object, fact=fact.id)
        for fact in measured.facts
        for neighbor in fact.neighbors_lost
    ]
    bounds: list[tuple[str, float | None, float | None, str, list[MissedPrompt]]] = [
        ("efficacy", metrics.efficacy, gate.min_efficacy, "least", not_likelier),
        ("specificity", metrics.specificity, gate.min_specificity, "least", lost),
        ("drift", metrics.drift, gate.max_drift, "most", []),
        ("perplexity_rise", metrics.perplexity_rise, gate.max_perplexity_rise, "most", []),
    ]
    for name, figure, bound, at, against in bounds:
        if bound is None:
            continue
        if figure is None:
            found = "was not measured"
        elif not math.isfinite(figure):
            found = "is no finite number"
        elif figure < bound if at == "least" else figure > bound:
            found = f"is {figure:.4g}{' nats' if name == 'drift' else ''}"
        else:
            continue
        miss = Miss(figure=name, value=finite_or_none(figure), bound=bound, prompts=tuple(against[:MOST_SHOWN]))
        yield miss, f"{name} {found}, and at {at} {bound:g} is asked for"


def _missed_probes(measured: Measured) -> tuple[Miss, str]:
    total, failed = len(measured.probes), measured.wrong_answers
    against = tuple(
        MissedPrompt(prompt=measured.probes[place].prompt, expected=measured.probes[place].answer, said=said)
        for place, said in failed.items()
    )[:MOST_SHOWN]
    named = "; ".join(f"{one.prompt!r} is answered {one.said!r}, not {one.expected!r}" for one in against)
    words = f"{total - len(failed)} of {total} probes are passed ({named}), and all must be"
    return Miss(figure="probes", value=1 - len(failed) / total, bound=1.0, prompts=against), words
