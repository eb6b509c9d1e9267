"""Another try at the facts of an edit that did not take: what is to be built, from that edit and what serves now.

The version that comes of it is built like any other; what is stronger is the search for the targets of those facts,
which they keep. The worker looks once more at what may be tried again: what serves may be another version by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from errata_client.records import BASE_VERSION, Edit, Gate, StoredFact

from errata.errors import Conflict, InvalidHyperparameters
from errata.hyperparameters import MemitHyperparameters, TargetHyperparameters, of_method
from errata_registry.jobs.folder import body_sha256
from errata_registry.jobs.requests import BOUNDS_ON_FACTS, EditRequest, RetryRequest
from errata_registry.registry import Registry
from errata_registry.versions.change import MOST_SHOWN
from errata_registry.versions.facts import FactIndex, fact_of
from errata_registry.versions.manifest import Manifest

KEPT_FOR_A_RETRY = ("refinement_steps",)  # hyperparameters that a worker's tries change (`errata_worker.tries`)


def retry_edit(
    registry: Registry,
    edit_id: str,
    retry: RetryRequest,
    idempotency_key: str | None = None,
    *,
    by: str | None = None,
    route: str = "",
) -> Edit:
    """Queue an edit that tries those facts of another one again that did not take.

    Raises:
        UnknownEdit, UnknownVersion: there is no such edit, or its version was deleted.
        Conflict: it has not ended or made no version, all of its facts took, some were changed since, or the search
            would be the one that they had.
        InvalidHyperparameters: its method searches for no targets, or not by those that are given.
        IdempotencyMismatch, QueueFull: as `Edits.create_edit`, which may refuse what comes of it, too.
    """
    sha256 = body_sha256(retry, "retry", edit_id)
    if known := registry.edits.of_key(idempotency_key, by, sha256, route):
        return known
    request, refuse_conflicts = _EndedEdit.of(registry, edit_id).again(retry)
    return registry.edits.create_edit(
        request,
        idempotency_key,
        by=by,
        route=route,
        refuse_conflicts=refuse_conflicts,
        retries=edit_id,
        sha256=sha256,
    )


def refuse_outdated(registry: Registry, edit_id: str, request: EditRequest, number: int) -> None:
    """Raise `Conflict` where `request`, accepted as another try at an edit, is not what that would be on a version.

    Raises:
        Conflict: facts that did not take are others there, or it has the edit's changes and had not, or the reverse.
        UnknownVersion: the edit's version was deleted.
    """
    tried = _EndedEdit.of(registry, edit_id).on(number)
    if {fact.id for fact in request.facts} == tried.facts.keys() and request.retract == tried.retract:
        return
    has = "has" if tried.builds_on_it else "does not have"
    raise Conflict(
        f"what serves was changed since this was accepted: version {number} {has} what {edit_id} did, so that more or "
        "less is to be built; ask for the new try once more"
    )


@dataclass(frozen=True, slots=True)
class _Tried:
    """What of an edit is tried again on a version: the facts that did not take as they were left, all facts to put in
    by their ids, the ids of those to withdraw, and whether that version has the edit's changes already."""

    missing: tuple[StoredFact, ...]
    facts: Mapping[str, StoredFact]
    retract: tuple[str, ...]
    builds_on_it: bool


@dataclass(frozen=True, slots=True)
class _EndedEdit:
    """An edit that can be tried again: what was asked for, and the version that it made."""

    registry: Registry
    edit: Edit
    asked: EditRequest
    refuse_conflicts: bool
    version: Manifest

    @classmethod
    def of(cls, registry: Registry, edit_id: str) -> _EndedEdit:
        edit, accepted = registry.edits.record(edit_id), registry.edits.folder.accepted(edit_id)
        if not edit.ended:
            raise Conflict(f"{edit.id} is {edit.status}; it can be tried again once it has ended")
        if not isinstance(accepted.request, EditRequest):
            raise Conflict(f"{edit.id} builds weights again and has no facts to be tried again")
        if edit.version is None:
            what = "was a dry run" if edit.dry_run and edit.error is None else f"is {edit.status}"
            raise Conflict(f"{edit.id} {what} and made no version: send it again instead")
        version = registry.artifacts.manifest(edit.version)
        return cls(registry, edit, accepted.request, accepted.refuse_conflicts, version)

    def again(self, retry: RetryRequest) -> tuple[EditRequest, bool]:
        """Return the edit to be queued, and whether it must not change facts that are there."""
        asked, active = self.asked, self.registry.activations.active()
        activate = asked.activate if retry.activate is None else retry.activate
        base = retry.base
        if base is None and not activate and not self._is_in(active):
            base = asked.base
        number = self.registry.versions.number(base)
        tried = self.on(number)
        held = self.registry.versions.facts(number if tried.builds_on_it else self.version.id)
        searches, refinement = _harder(self.version, tried.missing, held, retry)
        built_with = {name: self.version.hparams[name] for name in KEPT_FOR_A_RETRY if name in self.version.hparams}
        facts = map(fact_of, tried.facts.values())
        request = EditRequest(
            facts=tuple(replace(fact, search=searches.get(fact.subject, fact.search)) for fact in facts),
            retract=tried.retract,
            base=None if base is None else number,
            method=asked.method,
            activate=activate,
            gate=self._gate(retry),
            partial=retry.partial,
            tries=retry.tries,
            hparams={**asked.hparams, **built_with, **refinement},
            note=retry.note,
            dry_run=retry.dry_run,
        )
        return request, tried.builds_on_it or self.refuse_conflicts

    def _gate(self, retry: RetryRequest) -> Gate:
        """Return the bounds that are given, and else those of the edit. The bounds on what is said are the settings'
        where the edit came with `partial` or the retry does; and that on the share that is said in any case, or
        the new try could end as well as this one did."""
        anew = BOUNDS_ON_FACTS if retry.partial or self.asked.partial else ("min_said",)
        had = self.edit.gate or Gate()
        bounds = {name: getattr(had, name) for name in Gate.model_fields if name not in anew}
        return Gate(**{**bounds, **retry.gate.model_dump(exclude_unset=True)})

    def on(self, number: int) -> _Tried:
        """Return what is tried again on a version. Raises `Conflict` where nothing is, or facts are others there."""
        made, present = self.registry.versions.facts(self.version.id), self.registry.versions.facts(number)
        builds_on_it = self._is_in(number)
        outcomes = self.registry.edits.fact_outcomes(self.edit.id)
        not_taken = [outcome for outcome in outcomes if not outcome.took]
        put_in = {fact.id for fact in self.asked.facts}
        # Those that an earlier edit left unsaid are tried again where there are no others.
        of_edit = [outcome for outcome in not_taken if outcome.lost or outcome.id in put_in]
        missing = tuple(fact for outcome in of_edit or not_taken if (fact := made.get(outcome.id)))
        if not missing:
            raise Conflict(f"all {len(outcomes)} facts of {self.edit.id} took")
        _refuse_changed(missing, present, number, None if builds_on_it else self.edit.id)
        again = {fact.id: fact for fact in missing}
        retract: tuple[str, ...] = ()
        if not builds_on_it:  # all that the edit was to do is to be done
            again |= {stored.id: stored for fact in self.asked.facts if (stored := made.get(fact.id))}
            retract = tuple(fact_id for fact_id in self.asked.retract if fact_id in present)
        return _Tried(missing, again, retract, builds_on_it)

    def _is_in(self, number: int) -> bool:
        """Return True if a version is the one of this edit or was made from it, so that it has its changes."""
        while number > self.version.id and number != BASE_VERSION:
            number = self.registry.artifacts.folder(number).manifest.parent
        return number == self.version.id


def _refuse_changed(missing: Sequence[StoredFact], present: FactIndex, number: int, undone: str | None) -> None:
    """Raise `Conflict`, naming the facts, where they are not in a version any more as they were left.

    `undone` is the edit where the version lacks its changes: then its facts may be as they were before it.
    """
    changed = []
    for fact in missing:
        held = present.get(fact.id)
        now = held.object if held else None
        before = fact.replaced if undone and fact.edit == undone else fact.object
        if now not in (fact.object, before):
            name = f"{fact.subject!r}, {fact.relation!r} ({fact.id})"
            changed.append(f"{name} is {now!r} there" if held else f"{name} is not there any more")
    if changed:
        more = f" (and {len(changed) - MOST_SHOWN} more)" if len(changed) > MOST_SHOWN else ""
        named = "; ".join(changed[:MOST_SHOWN])
        raise Conflict(f"facts that did not take are others in version {number}: {named}{more}")


def _harder(
    manifest: Manifest, missing: Sequence[StoredFact], held: FactIndex, retry: RetryRequest
) -> tuple[dict[str, dict[str, object]], dict[str, object]]:
    """Return what to search with for each subject of which a fact did not take, and hyperparameters that refine more
    where these searches are at their bounds and nobody says others.

    `held` are the facts with the searches that they have. Raises `Conflict` where a new try would be the old one.
    """
    hyperparameters = of_method(manifest.method, manifest.hparams)
    if not isinstance(hyperparameters, TargetHyperparameters):
        raise InvalidHyperparameters(
            "method", f"{manifest.method} searches for no targets, so no search can be stronger"
        )
    hyperparameters.for_search(retry.hparams)
    searches = {
        fact.subject: dict(retry.hparams) or {**fact.search, **hyperparameters.for_search(fact.search).stronger()}
        for fact in missing
    }
    had = {fact.subject: fact.search for one in missing if (fact := held.get(one.id))}
    if any(hyperparameters.for_search(searches[name]) != hyperparameters.for_search(had[name]) for name in searches):
        return searches, {}
    may_refine = not retry.hparams
    if may_refine and isinstance(hyperparameters, MemitHyperparameters) and (more := hyperparameters.more_refined()):
        return searches, more
    why = "they were searched for with these `hparams`" if retry.hparams else "a search cannot be any stronger"
    raise Conflict(f"a new try would find what is there already: {why}; say others in `hparams`")
