"""The gate: what a version must reach to go live, its figures and the probes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from errata_client.records import FactOutcome, Gate, Metrics, Miss, MissedPrompt, Probe, Problem, finite_or_none
from errata_registry.problems import problem
from errata_registry.versions.change import MOST_SHOWN

from errata.facts import Fact

MOST_NAMED = 5
WHAT_NEXT = (
    "Retry the edit to search harder, add `phrasings` to these facts, or send it with `partial` to serve the rest"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a version.

    Attributes:
        metrics: its figures.
        judged: the figures that its gate is about: those of `metrics`, but efficacy and specificity of the facts that
            the edit puts in alone.
        facts: how each fact took.
        put_in: ids of the facts that the edit puts in.
        wrong_answers: what it says instead of the answers of those probes that it fails, by their places.
        is_finite: whether it gives finite numbers, without which no service would serve it.
    """

    metrics: Metrics
    judged: Metrics
    facts: tuple[FactOutcome, ...]
    put_in: frozenset[str]
    probes: tuple[Probe, ...] = ()
    wrong_answers: Mapping[int, str] = field(default_factory=dict)
    is_finite: bool = True

    @property
    def num_not_taken(self) -> int:
        """Number of facts that the version does not say."""
        return sum(not fact.took for fact in self.facts)

    @property
    def unsaid(self) -> tuple[FactOutcome, ...]:
        """The facts that the edit puts in and that the version does not say."""
        return tuple(fact for fact in self.facts if fact.id in self.put_in and not fact.took)

    @property
    def lost(self) -> tuple[FactOutcome, ...]:
        """The other facts that were said before and are not any more."""
        return tuple(fact for fact in self.facts if fact.lost)


def problem_of(gate: Gate, measured: Measured) -> Problem | None:
    """Return what keeps a version from going live, with the facts and prompts to blame; None where it may.

    A bound on something that was not measured, or that is no finite number, is missed. No figure of facts is asked
    where there are none that it could be about, and no figure at all of a version without facts, which is the base; the
    probes hold for it, too: where they alone fail, the problem is `probe-failed`. One that gives no finite numbers may
    never go live.
    """
    missed = [*_missed_figures(gate, measured)] if measured.facts else []
    if measured.wrong_answers:
        missed.append(_missed_probes(measured))
    if not missed:
        return None if measured.is_finite else problem(422, "not-finite", "the version gives no finite numbers")
    detail = "; ".join(words for _, words in missed)
    if any(miss.figure in ("said", "kept") for miss, _ in missed):
        detail += f". {WHAT_NEXT}"
    kind = "probe-failed" if all(miss.figure == "probes" for miss, _ in missed) else "gate-missed"
    return problem(422, kind, detail, misses=[miss for miss, _ in missed])


def _missed_figures(gate: Gate, measured: Measured) -> Iterator[tuple[Miss, str]]:
    figures, is_about_facts = measured.judged, bool(measured.put_in)
    of_edit = [fact for fact in measured.facts if fact.id in measured.put_in]
    neighbors_lost = [
        MissedPrompt(prompt=neighbor.prompt, expected=neighbor.object, fact=fact.id)
        for fact in of_edit
        for neighbor in fact.neighbors_lost
    ]
    bounds: list[tuple[str, float | None, float | None, str, list[MissedPrompt]]] = []
    if is_about_facts:
        not_likelier = [_prompt_of(fact) for fact in of_edit if not fact.likelier]
        bounds += [
            ("said", figures.said, gate.min_said, "least", [_prompt_of(fact) for fact in measured.unsaid]),
            ("efficacy", figures.efficacy, gate.min_efficacy, "least", not_likelier),
            ("specificity", figures.specificity, gate.min_specificity, "least", neighbors_lost),
        ]
    if figures.kept is not None:
        bounds.append(("kept", figures.kept, gate.min_kept, "least", [_prompt_of(fact) for fact in measured.lost]))
    bounds += [
        ("drift", figures.drift, gate.max_drift, "most", []),
        ("perplexity_rise", figures.perplexity_rise, gate.max_perplexity_rise, "most", []),
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
        named = f" ({named_prompts(against)})" if name in ("said", "kept") else ""
        yield miss, f"{name} {found}, and at {at} {bound:g} is asked for{named}"


def _prompt_of(fact: FactOutcome) -> MissedPrompt:
    prompt = Fact(fact.subject, fact.relation, fact.object).prompt
    return MissedPrompt(prompt=prompt, expected=fact.object, fact=fact.id)


def named_prompts(prompts: Sequence[MissedPrompt]) -> str:
    """Name the first of the prompts of facts that are not said."""
    more = f", and {len(prompts) - MOST_NAMED} more" if len(prompts) > MOST_NAMED else ""
    return "not said: " + ", ".join(f"{one.prompt!r} {one.expected!r}" for one in prompts[:MOST_NAMED]) + more


def _missed_probes(measured: Measured) -> tuple[Miss, str]:
    total, failed = len(measured.probes), measured.wrong_answers
    against = tuple(
        MissedPrompt(prompt=measured.probes[place].prompt, expected=measured.probes[place].answer, said=said)
        for place, said in failed.items()
    )[:MOST_SHOWN]
    named = "; ".join(f"{one.prompt!r} is answered {one.said!r}, not {one.expected!r}" for one in against)
    words = f"{total - len(failed)} of {total} probes are passed ({named}), and all must be"
    return Miss(figure="probes", value=1 - len(failed) / total, bound=1.0, prompts=against), words
