"""The edit job: how a request becomes a version. `EditJob._carry_out` tells it from beginning to end."""

from __future__ import annotations

import importlib.metadata
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from redis import RedisError
from rq.timeouts import JobTimeoutException

from errata import deltas, evaluation, memit
from errata.errors import Cancelled, ErrataError, InvalidFacts, InvalidHyperparameters, NotFinite, UnknownVersion
from errata.facts import Change, FactSet
from errata.hyperparameters import Hyperparameters
from errata.registry.records import (
    BASE_VERSION,
    BaseModelName,
    Edit,
    EditRequest,
    EditStatus,
    LayerReport,
    Manifest,
    Metrics,
    Problem,
    Stage,
    StoredFact,
    VersionStatus,
    now,
)
from errata.registry.registry import Registry
from worker import gate
from worker.progress import ProgressReport, WorkerStopping
from worker.resident import Resident

NOTED_BEFORE = ("base", "added", "changed", "retracted", "attempts", "started_at")
LIBRARIES = ("errata", "torch", "transformers", "safetensors")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every job of this process works with. `must_stop` says that the worker has no more time for it."""

    registry: Registry
    resident: Resident
    must_stop: Callable[[], bool]


_equipment: Equipment | None = None


def equip(equipment: Equipment) -> None:
    """Give this process what its jobs work with; RQ hands a job nothing but its arguments."""
    global _equipment
    _equipment = equipment


def run_edit(edit_id: str) -> None:
    """The function that RQ calls. It may be called more than once for an edit and makes one version of it."""
    assert _equipment is not None, "the process was not equipped before its first job"
    EditJob(edit_id, _equipment).run()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an edit makes of its base: the whole new fact set, and how it differs."""

    base: int
    facts: FactSet
    change: Change
    stored: tuple[StoredFact, ...]


class EditJob:
    """One attempt at an edit."""

    def __init__(self, edit_id: str, equipment: Equipment) -> None:
        self._id = edit_id
        self._registry = equipment.registry
        self._resident = equipment.resident
        self._report = ProgressReport(equipment.registry, edit_id, equipment.must_stop)

    def run(self) -> None:
        """Carry the edit out and end it. Nothing but the loss of Redis comes out of here."""
        try:
            self._edit = self._claim()
            if not self._edit.status.final:
                self._carry_out(self._registry.request(self._id))
        except RedisError:
            raise  # the edit has not ended, so it is taken up again when Redis is back
        except Cancelled:
            self._registry.update_edit(self._id, status=EditStatus.CANCELLED)
        except WorkerStopping:
            self._put_back()
        except Exception as error:
            self._fail(error)

    def _claim(self) -> Edit:
        """Begin an attempt, unless the edit has ended already."""
        edit = self._registry.edit(self._id)
        if not edit.status.final and self._registry.cancel_requested(self._id):
            raise Cancelled
        edit = self._registry.update_edit(
            self._id, status=EditStatus.RUNNING, attempts=edit.attempts + 1, started_at=edit.started_at or now()
        )
        logger.info("%s: attempt %d", self._id, edit.attempts)
        return edit

    def _carry_out(self, request: EditRequest) -> None:
        """Plan, build, measure, publish; again where another version went live in between, so that none is lost."""
        hyperparameters = self._resident.hyperparameters.overridden(request.hparams)
        published = self._settle_earlier_attempt(request)
        while published is None:
            plan = self._plan(request)
            built = self._build(plan, hyperparameters)
            metrics = self._measure(plan, built)
            if request.dry_run:
                self._end(request, metrics)
                return
            published = self._publish(
                request, plan, built, self._manifest(request, plan, built, hyperparameters, metrics)
            )
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

    def _plan(self, request: EditRequest) -> Plan:
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
        self._warn_of_shared_subjects(facts)
        return Plan(base, facts, change, stored)

    def _warn_of_shared_subjects(self, facts: FactSet) -> None:
        """Facts about one subject have nearly one key, and MEMIT tells their objects apart poorly."""
        shared = sorted(subject for subject, count in Counter(fact.subject for fact in facts).items() if count > 1)
        if shared:
            named = ", ".join(map(repr, shared[:5])) + (", …" if len(shared) > 5 else "")
            self._registry.log(
                self._id, "warning", f"{len(shared)} subjects have several facts each, which weakens them: {named}"
            )

    def _build(self, plan: Plan, hyperparameters: Hyperparameters) -> memit.Built:
        self._report(Stage.TARGETS, 0, len(plan.facts))
        second_moments = self._resident.second_moments(
            hyperparameters, on_progress=lambda done, total: self._report(Stage.TARGETS, 0, len(plan.facts))
        )
        return memit.build(
            self._resident.model,
            plan.facts,
            hyperparameters,
            second_moments,
            contexts=self._contexts_of(plan.base, hyperparameters),
            on_progress=self._report,
        )

    def _contexts_of(self, base: int, hyperparameters: Hyperparameters) -> tuple[str, ...] | None:
        """Those that the base was built with, so that facts that stay keep their targets and keys on any machine."""
        if base == BASE_VERSION:
            return None
        manifest = self._registry.artifacts.manifest(base)
        return manifest.contexts if manifest.hparams["seed"] == hyperparameters.seed else None

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

    def _manifest(
        self,
        request: EditRequest,
        plan: Plan,
        built: memit.Built,
        hyperparameters: Hyperparameters,
        metrics: Metrics,
    ) -> Manifest:
        """All that is known of the version but its number and its files."""
        model = self._resident.model
        return Manifest(
            id=0,
            parent=plan.base,
            edit=self._id,
            method=request.method,
            status=VersionStatus.REJECTED if gate.misses(request.gate, metrics) else VersionStatus.READY,
            base_model=BaseModelName(name=model.name, digest=model.digest, dtype=self._resident.settings.dtype),
            hparams=hyperparameters.as_dict(),
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

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, ErrataError):
            logger.exception("%s failed", self._id, exc_info=error)
        self._registry.update_edit(self._id, status=EditStatus.FAILED, error=self._problem(error))

    def _problem(self, error: Exception) -> Problem:
        match error:
            case InvalidFacts() | InvalidHyperparameters():
                return Problem.of_kind("invalid-edit", 422, str(error))
            case UnknownVersion():
                return Problem.of_kind("unknown-version", 404, f"the base of the edit: {error}")
            case NotFinite():
                return Problem.of_kind("not-finite", 500, str(error))
            case ErrataError():
                return Problem.of_kind("edit-failed", 500, str(error))
            case JobTimeoutException():
                limit = self._resident.settings.job_timeout_s
                return Problem.of_kind("timed-out", 500, f"the edit took longer than {limit} seconds")
            case torch.OutOfMemoryError():
                detail = f"the device ran out of memory: {str(error).splitlines()[0]}"
                return Problem.of_kind("out-of-memory", 500, detail)
            case _:
                detail = f"unexpected {type(error).__name__}: {error}; the worker's log has its traceback"
                return Problem.of_kind("edit-failed", 500, detail)


def _goes_live(request: EditRequest, version: Manifest) -> bool:
    return request.activate and version.status is VersionStatus.READY
