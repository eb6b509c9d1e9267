"""Trying again, harder, where facts of an edit are not said: `best_try` keeps the best of what was built.

A further try searches harder for the subjects of what is not said, which the facts' `search` and the version's
hyperparameters tell, so that a rebuild comes to the same weights. Targets of all other facts are in the store.

A turn at an edit begins with the first try, whatever became of the turn before: what that found is in the store, too.
Further tries are never shared out among workers.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from errata_client.records import FactOutcome, MissedPrompt, Problem, StoredFact
from errata_registry.jobs.requests import EditRequest
from errata_registry.versions.change import FactSetChange
from errata_registry.versions.facts import FactIndex, fact_of

from errata.errors import NotFinite
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters, TargetHyperparameters
from errata.methods.method import Built
from errata.second_moments import SecondMoments
from errata.targets.batches import ran_out_of_memory
from errata_worker.build import Blueprint, Builder
from errata_worker.gate import Measured, named_prompts, problem_of
from errata_worker.running import Turn


@dataclass(frozen=True, slots=True)
class Plan:
    """What an edit makes of its base: the new fact set and how it differs, and what is built of it."""

    base: int
    change: FactSetChange
    blueprint: Blueprint


@dataclass(frozen=True, slots=True)
class Try:
    """What was built of a plan, what was measured of it, and what keeps it from going live."""

    plan: Plan
    built: Built
    measured: Measured
    problem: Problem | None

    @property
    def missing(self) -> tuple[FactOutcome, ...]:
        """The facts that should be said and are not: those of the edit, and those that were said before."""
        return self.measured.unsaid + self.measured.lost

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        """Order tries by what they are worth: what may go live, then what says most facts, then most of the edit's."""
        unsaid, lost = len(self.measured.unsaid), len(self.measured.lost)
        return self.problem is None, -unsaid - lost, -unsaid, -len(self.problem.misses if self.problem else ())


def best_try(
    turn: Turn[Any, Any], request: EditRequest, builder: Builder, plan: Plan, second_moments: SecondMoments
) -> Try:
    """Build and measure a plan, and harder ones while facts are not said and tries are left; return the best, of
    equals the first. Raises as `Builder.build` where it is the first try that fails."""
    said_before = turn.registry.edits.facts_said(plan.base)

    def attempt(plan: Plan) -> Try:
        built = builder.build(plan.blueprint, second_moments)
        put_in = frozenset(fact.id for fact in request.facts)
        perplexity = request.gate.max_perplexity_rise is not None
        measured = builder.measure(plan.blueprint, built, put_in=put_in, said_before=said_before, perplexity=perplexity)
        return Try(plan, built, measured, problem_of(request.gate, measured))

    began = time.monotonic()
    first = best = latest = attempt(plan)
    for number in range(2, request.tries + 1):
        if not latest.missing or not latest.measured.is_finite:
            break
        # A try may take as long as all before it, and what takes too long ends the edit.
        if 2 * (time.monotonic() - began) > turn.registry.settings.job_timeout_s:
            turn.log(f"{_missing(latest)}; there is no time for another try")
            break
        harder = _harder(latest, refine=number > 2)
        if harder is None:
            turn.log(f"{_missing(latest)}; the search cannot be any harder")
            break
        facts, hyperparameters, how = harder
        turn.log(f"{_missing(latest)}; try {number} of {request.tries}: {how}")
        blueprint = builder.draw_up(FactSet(map(fact_of, facts)), plan.blueprint.contexts, hyperparameters)
        try:
            latest = attempt(Plan(plan.base, replace(plan.change, facts=facts), blueprint))
        except (NotFinite, RuntimeError, MemoryError) as error:
            if not isinstance(error, NotFinite) and not ran_out_of_memory(error):
                raise
            turn.log(f"try {number} failed, and what was built before stands: {error}", "warning")
            break
        best = max(best, latest, key=lambda one: one.rank)
    if best.missing and latest is not first:
        turn.log(f"the best try is kept; {_missing(best)}", "warning")
    return best


def _harder(last: Try, *, refine: bool) -> tuple[FactIndex, TargetHyperparameters, str] | None:
    """Return the facts with harder searches for those that are missing, and hyperparameters with more refinement, if it
    is to `refine` or these searches are at their bounds; and in words what is harder. None where nothing can be."""
    hyperparameters = last.plan.blueprint.hyperparameters
    if not isinstance(hyperparameters, TargetHyperparameters):
        return None
    facts = _searched_harder(last.plan.change.facts, {fact.subject for fact in last.missing}, hyperparameters)
    hows = ["a stronger search for them"] if facts else []
    can_refine = refine or not facts
    if can_refine and isinstance(hyperparameters, MemitHyperparameters) and (more := hyperparameters.more_refined()):
        hyperparameters = hyperparameters.overridden(more)
        hows.append(f"{hyperparameters.refinement_steps} steps of refinement")
    return (facts or last.plan.change.facts, hyperparameters, " and ".join(hows)) if hows else None


def _searched_harder(
    facts: FactIndex, subjects: Collection[str], hyperparameters: TargetHyperparameters
) -> FactIndex | None:
    """Return the facts, those about `subjects` with stronger searches; None where each is at its bounds."""
    harder: list[StoredFact] = []
    changed = False
    for fact in facts:
        if fact.subject in subjects:
            had = hyperparameters.for_search(fact.search)
            search = {**fact.search, **had.stronger()}
            changed |= hyperparameters.for_search(search) != had
            fact = fact.model_copy(update={"search": search})
        harder.append(fact)
    return FactIndex(harder) if changed else None


def _missing(one: Try) -> str:
    prompts = [
        MissedPrompt(prompt=Fact(fact.subject, fact.relation, fact.object).prompt, expected=fact.object)
        for fact in one.missing
    ]
    return f"{len(prompts)} of {len(one.measured.facts)} facts are {named_prompts(prompts)}"
