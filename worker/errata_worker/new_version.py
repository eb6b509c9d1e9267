"""Making a version of the facts of an edit: plan, build, measure, publish. `NewVersion.carry_out` tells it."""

import logging
from dataclasses import dataclass
from typing import Any

from errata_client.records import BASE_VERSION, Edit, JobStatus, Metrics, Problem, Stage, VersionStatus
from errata_registry.jobs.requests import EditRequest, RebuildRequest
from errata_registry.jobs.retries import refuse_outdated
from errata_registry.problems import problem_of
from errata_registry.stored import now
from errata_registry.versions.change import change_facts
from errata_registry.versions.facts import Origin, fact_of
from errata_registry.versions.manifest import BaseModelName, Manifest
from errata_registry.versions.retention import drop_weights
from errata_registry.versions.store import Draft

from errata import deltas
from errata.errors import Cancelled, Conflict
from errata.facts import FactSet
from errata.hyperparameters import Hyperparameters, MemitHyperparameters, of_method
from errata.methods.method import Built
from errata_worker.build import Builder, libraries
from errata_worker.gate import Measured, problem_of as problem_of_gate
from errata_worker.running import Turn
from errata_worker.tries import Plan, Try, best_try

NOTED_BEFORE = ("base", "added", "changed", "retracted", "changes", "duplicates")
NOTED_OF_VERSION = ("added", "changed", "retracted")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """The version that came of an edit.

    Attributes:
        overtaken_by: the version that serves instead of the one it was made of, and that it would have taken out of
            service without anybody having said so.
    """

    version: Manifest
    overtaken_by: int | None = None


class NewVersion:
    """One turn at an edit that adds, changes or withdraws facts."""

    def __init__(self, turn: Turn[EditRequest | RebuildRequest, Edit], request: EditRequest) -> None:
        self._turn = turn
        self._edit = turn.record
        self._accepted = turn.accepted
        self._request = request
        self._registry = turn.registry
        self._resident = turn.resident
        self._builder = Builder(turn)

    def carry_out(self) -> None:
        """Plan, build and measure, harder while facts are not said, and publish the best; again where another version
        went live in between, so that none is lost."""
        hyperparameters = self._resident.defaults(self._request.method).overridden(self._request.hparams)
        published = self._published_before()
        while published is None:
            plan = self._plan(hyperparameters)
            if version := self._is_there(plan):
                self._await_replicas(version)
                self._end_unchanged(version)
                return
            second_moments = self._builder.second_moments(plan.blueprint)
            if self._builder.share_out(plan.blueprint):
                return
            best = best_try(self._turn, self._request, self._builder, plan, second_moments)
            measured = best.measured
            self._registry.edits.keep_fact_outcomes(self._edit.id, measured.facts)
            if self._request.dry_run:
                self._end(measured.metrics, measured.num_not_taken, best.problem)
                return
            published = self._publish(best)
        version = published.version
        self._await_replicas(version)
        self._end(version.metrics, version.not_taken, version.problem, published)
        if (keep_last := self._resident.settings.keep_versions) is not None:
            for dropped in drop_weights(self._registry, keep_last):
                logger.info("dropped the weights of version %d, %d bytes", dropped.version, dropped.bytes)

    # The steps

    def _published_before(self) -> Published | None:
        """Return the version that an earlier attempt published before its worker died; activate it if that is left."""
        registry = self._registry
        with registry.activations.deciding() as active:
            published = registry.artifacts.of_edit(self._edit.id)
            if published is None:
                return None
            went_live = any(entry.active == published.id for entry in registry.activations.journal.entries())
            if went_live or not self._goes_live(published):
                return Published(published)
            if active == published.parent:
                registry.activations.activate(published.id, by=self._edit.id, who=self._accepted.by)
                return Published(published)
            if self._request.base is not None or registry.aliases.of(published.id):  # or somebody has use for it
                return Published(published, overtaken_by=active)
            registry.versions.delete(published.id)  # it lacks what went live since
            return None

    def _plan(self, hyperparameters: Hyperparameters) -> Plan:
        """Put the edit's facts into those of the base, and take out what it withdraws.

        Raises `Conflict` where the edit is another try, and not at what would be tried on this base.
        """
        base = self._registry.versions.number(self._request.base)
        if self._edit.retries:
            refuse_outdated(self._registry, self._edit.retries, self._request, base)
        origin = Origin(self._edit.id, self._accepted.by, self._accepted.created_at)
        before, refuse = self._registry.versions.facts(base), self._accepted.refuse_conflicts
        change = change_facts(before, base, self._request, origin, refuse_conflicts=refuse)
        self._edit = self._registry.edits.update(self._edit.id, base=base, **change.as_shown())
        facts = FactSet(map(fact_of, change.facts))
        hyperparameters = self._as_refined_as(base, hyperparameters)
        contexts = self._builder.contexts(base, hyperparameters.seed)
        self._builder.tell_of_shared_subjects(facts, hyperparameters)
        return Plan(base, change, self._builder.draw_up(facts, contexts, hyperparameters))

    def _is_there(self, plan: Plan) -> Manifest | None:
        """Return the base where the plan is what that is already: the same facts, of which it says all, with the same
        prompts and searches, built alike; None where there is something to be built."""
        if plan.base == BASE_VERSION or (self._request.goes_live and self._registry.activations.active() != plan.base):
            return None
        folder = self._registry.artifacts.existing(plan.base)
        version, hyperparameters = folder.manifest, plan.blueprint.hyperparameters
        is_there = (
            not folder.is_dropped
            and version.not_taken == 0
            and version.method == hyperparameters.method
            and of_method(version.method, version.hparams) == hyperparameters
            and tuple(self._registry.versions.facts(plan.base)) == tuple(plan.change.facts)
        )
        return version if is_there else None

    def _as_refined_as(self, base: int, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Return the hyperparameters with no fewer steps of refinement than the base's facts have needed to be said."""
        if base == BASE_VERSION or "refinement_steps" in self._request.hparams:
            return hyperparameters
        manifest = self._registry.artifacts.manifest(base)
        if manifest.method != hyperparameters.method or not isinstance(hyperparameters, MemitHyperparameters):
            return hyperparameters
        steps = max(hyperparameters.refinement_steps, int(manifest.hparams.get("refinement_steps", 0)))
        return hyperparameters.overridden({"refinement_steps": steps})

    def _manifest(self, plan: Plan, built: Built, measured: Measured) -> Manifest:
        """Return all that is known of the version but its number and its files."""
        model = self._resident.model
        problem = problem_of_gate(self._request.gate, measured)
        return Manifest(
            id=0,
            parent=plan.base,
            edit=self._edit.id,
            by=self._accepted.by,
            method=self._request.method,
            status=VersionStatus.REJECTED if problem else VersionStatus.READY,
            base_model=BaseModelName(name=model.name, digest=model.digest, dtype=self._resident.settings.dtype),
            hparams=plan.blueprint.hyperparameters.as_dict(),
            contexts=built.contexts,
            facts=len(plan.change.facts),
            **plan.change.counts(),
            metrics=measured.metrics,
            not_taken=measured.num_not_taken,
            gate=self._request.gate,
            problem=problem,
            layers=self._builder.layers(built),
            libraries=libraries(),
            created_at=now(),
            note=self._request.note,
        )

    def _publish(self, best: Try) -> Published | None:
        """Make it a version and activate it where it is to go live, before anyone else changes what serves.

        Where the probes were changed since it was asked, it is asked those that are there now, first; not while
        everyone else would have to wait. None where what serves has changed since the plan was made, and the version
        would undo it. Raises `Cancelled` where the edit has ended meanwhile by another hand.
        """
        self._builder.report(Stage.PUBLISH, 0, 1)
        registry, plan, built, measured = self._registry, best.plan, best.built, best.measured
        change = plan.change
        written = registry.artifacts.draft(change.facts, change.changes, lambda path: deltas.write(path, built.deltas))
        with written as draft:
            while True:
                manifest = self._manifest(plan, built, measured)
                with registry.activations.deciding() as active:
                    if registry.probes.all() == measured.probes:
                        return self._decide(plan.base, active, draft, manifest)
                self._turn.log("the probes were changed meanwhile; asking them as they are now")
                measured = self._builder.with_probes_as_they_are(measured, built)

    def _decide(self, base: int, active: int, draft: Draft, manifest: Manifest) -> Published | None:
        """Do what `_publish` says, while nobody else changes what serves or the probes."""
        registry = self._registry
        if registry.edits.folder.outcome(self._edit.id):
            raise Cancelled
        if published := registry.artifacts.of_edit(self._edit.id):  # by a worker given up for lost too soon
            return Published(published)
        overtaken = self._goes_live(manifest) and active != base
        if overtaken and self._request.base is None:
            self._turn.log(f"version {active} went live meanwhile; building anew, on it")
            return None
        published = registry.artifacts.publish(draft, manifest)
        if overtaken:
            return Published(published, overtaken_by=active)
        if self._goes_live(published):
            registry.activations.activate(published.id, by=self._edit.id, who=self._accepted.by)
        return Published(published)

    def _goes_live(self, version: Manifest) -> bool:
        return self._request.goes_live and version.status is VersionStatus.READY

    def _await_replicas(self, version: Manifest) -> None:
        """Whoever sees the edit succeed is to be answered with it: wait for the replicas to have swapped."""
        if self._registry.activations.active() != version.id:
            return
        replicas = self._registry.replicas.wait_for(version.id, self._resident.settings.activation_timeout_s)
        behind = [replica.id for replica in replicas if replica.version != version.id]
        if behind:
            self._turn.log(f"version {version.id} is active, but not yet served by {', '.join(behind)}", "warning")

    # The end

    def _end_unchanged(self, version: Manifest) -> None:
        """Succeed without a new version. Nothing is built, so that no gate and no probe is asked."""
        message = f"this changes nothing: version {version.id} has all of it already, so no version is made"
        self._turn.log(message)
        self._end(version.metrics, version.not_taken, None, version=version.id, message=message)

    def _end(
        self,
        metrics: Metrics,
        not_taken: int | None,
        problem: Problem | None,
        published: Published | None = None,
        **said: Any,
    ) -> None:
        """Succeed, or be rejected where the gate was missed or another version was quicker; a dry run publishes
        nothing."""
        if problem is None and published and published.overtaken_by is not None:
            version, active = published.version, published.overtaken_by
            detail = (
                f"version {active} went live since this edit was accepted. Version {version.id}, made of version "
                f"{version.parent}, is kept and does not serve: activate it to have it in place of version {active}, "
                f"or send the edit again with base {active} to have both"
            )
            problem = problem_of(Conflict(detail))
        # Said again in case that Redis has lost its memory since the plan was made.
        noted = {name: getattr(self._edit, name) for name in NOTED_BEFORE}
        if published:  # maybe by an earlier attempt, whose plan nobody knows any more
            version = published.version
            noted |= {"base": version.parent, "version": version.id}
            noted |= {name: getattr(version, name) for name in NOTED_OF_VERSION}
        status = JobStatus.REJECTED if problem else JobStatus.SUCCEEDED
        self._turn.end(status, error=problem, metrics=metrics, not_taken=not_taken, **noted, **said)
