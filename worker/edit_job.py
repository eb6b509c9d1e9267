"""The edit job: how a request becomes a version. `EditJob._carry_out` tells it from beginning to end."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import asdict, dataclass

from errata import deltas, evaluation, memit
from errata.contexts import sample_contexts
from errata.errors import Cancelled
from errata.facts import Change, Fact, FactSet, by_subject
from errata.hyperparameters import Hyperparameters
from errata.prompts import require_room
from errata.registry.records import (
    BASE_VERSION,
    BaseModelName,
    EditRequest,
    EditStatus,
    FactBody,
    LayerReport,
    Manifest,
    Metrics,
    Problem,
    Stage,
    StoredFact,
    VersionStatus,
    now,
)
from errata.registry.shard_files import ShardOrder
from errata.second_moments import SecondMoments
from errata.targets import facts_to_search
from worker import gate
from worker.attempt import WorkerStopping, claim, ending_with_what_goes_wrong
from worker.equipment import Equipment
from worker.progress import ProgressReport
from worker.target_shard import cut

NOTED_BEFORE = ("base", "added", "changed", "retracted", "attempts", "started_at")
LIBRARIES = ("errata", "torch", "transformers", "safetensors")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an edit makes of its base: the whole new fact set and how it differs, and what its targets depend on.

    `to_search` are the facts whose targets are not known from earlier searches.
    """

    base: int
    facts: FactSet
    change: Change
    stored: tuple[StoredFact, ...]
    contexts: tuple[str, ...]
    hyperparameters: Hyperparameters
    to_search: tuple[Fact, ...]


class EditJob:
    """One turn at an edit."""

    def __init__(self, edit_id: str, equipment: Equipment) -> None:
        self._id = edit_id
        self._equipment = equipment
        self._registry = equipment.registry
        self._resident = equipment.resident
        self._report = ProgressReport(equipment.registry, edit_id, equipment.must_stop)

    def run(self) -> None:
        """Carry the edit out and end it, or share the search for its targets out.

        Raises:
            redis.RedisError, OSError: as `ending_with_what_goes_wrong`.
        """
        try:
            with ending_with_what_goes_wrong(self._registry, self._id):
                self._edit = claim(self._registry, self._id)
                if self._edit.status.final:
                    return
                if pending := self._registry.shards.pending(self._id):  # recovery will see to them, and to this job
                    logger.info("%s: there are still %d target shards to be done", self._id, len(pending))
                    return
                self._carry_out(self._registry.request(self._id))
        except WorkerStopping:
            self._put_back()

    def _carry_out(self, request: EditRequest) -> None:
        """Plan, build, measure, publish; again where another version went live in between, so that none is lost."""
        hyperparameters = self._resident.hyperparameters.overridden(request.hparams)
        published = self._settle_earlier_attempt(request)
        while published is None:
            plan = self._plan(request, hyperparameters)
            second_moments = self._second_moments(plan)
            if self._share_out(plan):
                return
            built = self._build(plan, second_moments)
            metrics = self._measure(plan, built)
            if request.dry_run:
                self._end(request, metrics)
                return
            published = self._publish(request, plan, built, self._manifest(request, plan, built, metrics))
        self._await_replicas(published)
        self._end(request, published.metrics, published)

    # The steps

    def _settle_earlier_attempt(self, request: EditRequest) -> Manifest | None:
        """The version that an earlier attempt published before its worker died, activated if that was left to do."""
        with self._registry.deciding() as active:
            published = self._registry.artifacts.of_edit(self._id)
            if published is None:
                return None
            self._registry.put_version(published)
            went_live = any(activation.by == self._id for activation in self._registry.activations())
            if went_live or not _goes_live(request, published):
                return published
            if request.base is None and active != published.parent:  # it lacks what went live since
                self._registry.delete_version(published.id)
                return None
            self._registry.activate(published.id, by=self._id)
            return published

    def _plan(self, request: EditRequest, hyperparameters: Hyperparameters) -> Plan:
        """The facts of the base with the new ones put in."""
        base = self._registry.active() if request.base is None else request.base
        stored_before = self._registry.facts(base)
        before = FactSet(stored.to_fact() for stored in stored_before)
        facts = before.with_facts(body.to_fact() for body in request.facts)
        change = before.change_to(facts)
        self._edit = self._registry.update_edit(
            self._id, base=base, added=len(change.added), changed=len(change.changed), retracted=len(change.removed)
        )
        edit_of = {(stored.id, stored.object): stored.edit for stored in stored_before}
        stored = tuple(
            StoredFact.from_fact(fact, edit=edit_of.get((fact.id, fact.object)) or self._id) for fact in facts
        )
        self._tell_of_shared_subjects(facts)
        contexts = self._contexts(base, hyperparameters.seed)
        require_room(self._resident.model, list(facts), contexts)
        to_search = facts_to_search(
            self._resident.model, list(facts), contexts, hyperparameters, self._equipment.targets
        )
        return Plan(base, facts, change, stored, contexts, hyperparameters, tuple(to_search))

    def _tell_of_shared_subjects(self, facts: FactSet) -> None:
        shared = [about_one[0].subject for about_one in by_subject(facts) if len(about_one) > 1]
        if shared:
            named = ", ".join(map(repr, shared[:5])) + (", …" if len(shared) > 5 else "")
            message = f"several facts about one subject share one change of the model: {named}"
            self._registry.log(self._id, "info", message)

    def _contexts(self, base: int, seed: int) -> tuple[str, ...]:
        """The prefixes of that seed that all edits on this base model use, so that what one has found serves the next.

        Those that the base version was built with come first, should they be others.
        """
        if base != BASE_VERSION:
            manifest = self._registry.artifacts.manifest(base)
            if manifest.hparams["seed"] == seed:
                return manifest.contexts
        model, kept = self._resident.model, self._registry.contexts
        if (contexts := kept.load(model.digest, seed)) is None:
            self._registry.log(self._id, "info", "sampling the context prefixes of this model, once for all edits")
            contexts = kept.keep(model.digest, seed, sample_contexts(model, seed))
        return contexts

    def _second_moments(self, plan: Plan) -> SecondMoments:
        """First of all, since a search without them is in vain."""
        total = len(plan.facts)
        known = total - len(plan.to_search)
        if known:
            self._registry.log(self._id, "info", f"{known} of {total} targets are known")
        self._report(Stage.TARGETS, known, total)
        return self._resident.second_moments(
            plan.hyperparameters, on_progress=lambda *_: self._report(Stage.TARGETS, known, total)
        )

    def _share_out(self, plan: Plan) -> bool:
        """Let all workers search for the targets where they are many. False where this job is to find them."""
        limit = self._resident.settings.shard_facts
        if len(plan.to_search) <= limit:
            return False
        shards = cut(plan.to_search, limit)
        self._registry.log(self._id, "info", f"{len(plan.to_search)} targets are searched for in {len(shards)} shards")
        cut_at = now()
        self._registry.cut(
            [
                ShardOrder(
                    edit=self._id,
                    shard=number,
                    facts=tuple(
                        FactBody(subject=fact.subject, relation=fact.relation, object=fact.object) for fact in shard
                    ),
                    contexts=plan.contexts,
                    hparams=plan.hyperparameters.as_dict(),
                    sizes=tuple(map(len, shards)),
                    total=len(plan.facts),
                    cut_at=cut_at,
                )
                for number, shard in enumerate(shards)
            ]
        )
        return True

    def _build(self, plan: Plan, second_moments: SecondMoments) -> memit.Built:
        return memit.build(
            self._resident.model,
            plan.facts,
            plan.hyperparameters,
            second_moments,
            contexts=plan.contexts,
            store=self._equipment.targets,
            on_progress=self._report,
        )

    def _measure(self, plan: Plan, built: memit.Built) -> Metrics:
        model = self._resident.model
        self._report(Stage.EVALUATE, 0, len(plan.facts))
        measured = evaluation.evaluate(
            model,
            evaluation.cases_of(model, list(plan.facts)),
            deltas.edited_weights(model, built.deltas),
            lambda done, total: self._report(Stage.EVALUATE, done, total),
        )
        return Metrics(**asdict(measured), score=measured.score)

    def _manifest(self, request: EditRequest, plan: Plan, built: memit.Built, metrics: Metrics) -> Manifest:
        """All that is known of the version but its number and its files."""
        model = self._resident.model
        return Manifest(
            id=0,
            parent=plan.base,
            edit=self._id,
            method=request.method,
            status=VersionStatus.REJECTED if gate.misses(request.gate, metrics) else VersionStatus.READY,
            base_model=BaseModelName(name=model.name, digest=model.digest, dtype=self._resident.settings.dtype),
            hparams=plan.hyperparameters.as_dict(),
            contexts=built.contexts,
            facts=len(plan.facts),
            added=len(plan.change.added),
            changed=len(plan.change.changed),
            retracted=len(plan.change.removed),
            metrics=metrics,
            layers=tuple(
                LayerReport(
                    layer=layer,
                    rank=delta.rank,
                    norm=delta.norm,
                    relative_norm=deltas.relative_norm(model, layer, delta),
                )
                for layer, delta in built.deltas.items()
            ),
            libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
            created_at=now(),
            note=request.note,
        )

    def _publish(self, request: EditRequest, plan: Plan, built: memit.Built, manifest: Manifest) -> Manifest | None:
        """Make it a version and activate it where it is to go live, before anyone else changes what serves.

        None where that has changed since the plan was made, and the version would undo it. Raises `Cancelled`
        where the edit has ended meanwhile by another hand.
        """
        self._report(Stage.PUBLISH, 0, 1)
        draft = self._registry.artifacts.draft(plan.stored, lambda path: deltas.write(path, built.deltas))
        with self._registry.deciding() as active:
            if self._registry.edit_files.outcome(self._id):
                draft.discard()
                raise Cancelled
            if published := self._registry.artifacts.of_edit(self._id):  # by a worker given up for lost too soon
                draft.discard()
                return published
            if request.activate and request.base is None and active != plan.base:
                draft.discard()
                self._registry.log(self._id, "info", f"version {active} went live meanwhile; building anew, on it")
                return None
            published = self._registry.publish(draft, manifest)
            if _goes_live(request, published):
                self._registry.activate(published.id, by=self._id)
            return published

    def _await_replicas(self, published: Manifest) -> None:
        """Whoever sees the edit succeed is to be answered with it: wait for the replicas to have swapped."""
        if self._registry.active() != published.id:
            return
        replicas = self._registry.await_replicas(published.id, self._resident.settings.activation_timeout_s)
        behind = [replica.id for replica in replicas if replica.version != published.id]
        if behind:
            message = f"version {published.id} is active, but not yet served by {', '.join(behind)}"
            self._registry.log(self._id, "warning", message)

    # The ends

    def _end(self, request: EditRequest, metrics: Metrics, published: Manifest | None = None) -> None:
        """Succeed, or be rejected where the gate was missed; a dry run publishes nothing."""
        missed = gate.misses(request.gate, metrics)
        logger.info("%s: done, version %s%s", self._id, published and published.id, " missed its gate" * bool(missed))
        self._registry.update_edit(
            self._id,
            status=EditStatus.REJECTED if missed else EditStatus.SUCCEEDED,
            error=Problem.of_kind("gate-missed", 422, "; ".join(missed)) if missed else None,
            metrics=metrics,
            version=published.id if published else None,
            # Said again in case that Redis has lost its memory since the edit was claimed.
            **{name: getattr(self._edit, name) for name in NOTED_BEFORE},
        )

    def _put_back(self) -> None:
        """The worker stops. The edit is queued again by whoever finds it without a worker; this was no attempt."""
        edit = self._registry.edit(self._id)
        self._registry.log(self._id, "info", "the worker was told to stop; the edit goes back into the queue")
        self._registry.update_edit(self._id, status=EditStatus.QUEUED, attempts=edit.attempts - 1)


def _goes_live(request: EditRequest, version: Manifest) -> bool:
    return request.activate and version.status is VersionStatus.READY
