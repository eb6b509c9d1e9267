"""The gate: what a version must reach to go live, its figures and the probes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    """

    metrics: Metrics
    facts: tuple[FactOutcome, ...]
    probes: tuple[Probe, ...] = ()
    wrong_answers: Mapping[int, str] = field(default_factory=dict)

    @property
    def num_not_taken(self) -> int:
        """Number of facts that the version does not say."""
        return sum(not fact.took for fact in self.facts)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A bound on a figure.

    Attributes:
        is_least: whether the figure must not lie below the bound; else it must not lie above it.
        said: writes the figure.
        against: the prompts that count against the version.
        words: tell of a miss where figure and bound would not.
    """

    name: str
    figure: float | None
    bound: float | None
    is_least: bool
    said: Callable[[float], str] = "{:.4g}".format
    against: Sequence[MissedPrompt] = ()
    words: str | None = None

    @property
    def is_missed(self) -> bool:
        if self.bound is None:
            return False
        if self.figure is None or not math.isfinite(self.figure):
            return True
        return self.figure < self.bound if self.is_least else self.figure > self.bound

    def miss(self) -> tuple[Miss, str]:
        assert self.bound is not None
        asked = f"and at {'least' if self.is_least else 'most'} {self.bound:g} is asked for"
        shown = tuple(self.against[:MOST_SHOWN])
        miss = Miss(figure=self.name, value=finite_or_none(self.figure), bound=self.bound, prompts=shown)
        return miss, self.words or f"{self.name} {self._found()}, {asked}"

    def _found(self) -> str:
        if self.figure is None:
            return "was not measured"
        return f"is {self.said(self.figure)}" if math.isfinite(self.figure) else "is no finite number"


def problem_of(gate: Gate, measured: Measured) -> Problem | None:
    """Return what keeps a version from going live, with the facts and prompts to blame; None where it may.

    A bound on something that was not measured, or that is no finite number, is missed. A version without facts is the
    base, of which no figure is asked; the probes hold for it, too.
    """
    bounds = [*_figures(gate, measured)] if measured.facts else []
    if measured.probes:
        bounds.append(_probes(measured))
    missed = [bound.miss() for bound in bounds if bound.is_missed]
    if not missed:
        return None
    detail = "; ".join(words for _, words in missed)
    return problem(422, "gate-missed", detail, misses=[miss for miss, _ in missed])


def _figures(gate: Gate, measured: Measured) -> list[_Bound]:
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
    return [
        _Bound("efficacy", metrics.efficacy, gate.min_efficacy, True, against=not_likelier),
        _Bound("specificity", metrics.specificity, gate.min_specificity, True, against=lost),
        _Bound("drift", metrics.drift, gate.max_drift, False, said="{:.4g} nats".format),
        _Bound("perplexity_rise", metrics.perplexity_rise, gate.max_perplexity_rise, False),
    ]


def _probes(measured: Measured) -> _Bound:
    total, failed = len(measured.probes), measured.wrong_answers
    against = [
        MissedPrompt(prompt=measured.probes[place].prompt, expected=measured.probes[place].answer, said=said)
        for place, said in failed.items()
    ]
    named = "; ".join(f"{one.prompt!r} is answered {one.said!r}, not {one.expected!r}" for one in against[:MOST_SHOWN])
    words = f"{total - len(failed)} of {total} probes are passed ({named}), and all must be"
    return _Bound("probes", 1 - len(failed) / total, 1.0, True, against=against, words=words)
