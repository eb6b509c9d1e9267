"""The registry: what edits and versions there are, and which version serves.

The home folder holds everything that must survive; Redis holds the queue, the live state and the events. What is
written to both goes to the folder first, so that `reindex` can rebuild Redis from it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from redis import Redis, RedisError
from redis.client import Pipeline

from errata.errors import Conflict, QueueFull, UnknownFacts
from errata_registry import home as base
from errata_registry import keys
from errata_registry.home import BoundBase
from errata_registry.jobs.edit_files import AcceptedRequest, EditFiles, body_sha256
from errata_registry.jobs.idempotency import IdempotencyKeys
from errata_registry.jobs.measurement_kinds import EVALUATIONS, TRACES
from errata_registry.jobs.measurements import Measurements
from errata_registry.jobs.queue import JobQueue, edit_of
from errata_registry.jobs.shards import ShardFiles, ShardOrder
from errata_registry.pages import Page, page_of
from errata_registry.records import (
    BASE_VERSION,
    Activation,
    Edit,
    EditRequest,
    EditStatus,
    FactOutcome,
    Gate,
    Manifest,
    Progress,
    RebuildRequest,
    Replica,
    Stage,
    Version,
    VersionStatus,
    now,
)
from errata_registry.serving.aliases import Aliases
from errata_registry.serving.journal import ROLLBACK, Journal, JournalEntry
from errata_registry.serving.probes import Probes
from errata_registry.settings import Settings
from errata_registry.versions.change import Origin, amend
from errata_registry.versions.contexts import ContextFiles
from errata_registry.versions.fact_index import FactIndex
from errata_registry.versions.fact_sets import FactSets
from errata_registry.versions.store import Artifacts, Draft

if TYPE_CHECKING:
    from errata.deltas import Delta

EVENTS_TTL_S = 7 * 24 * 3600
EVENTS_KEPT = 20_000
PROGRESS_EVERY_MS = 200
ACTIVATIONS_KEPT = 1_000
REPLICA_POLL_S = 0.02
OF_UNFINISHED = (keys.edit_progress, keys.edit_told, keys.edit_searching, keys.missing_jobs, keys.losses)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of an edit's event stream.

    `name` is `status` (data: an Edit), `progress` (a Progress) or `log` ({"level", "message"}).
    """

    id: str
    name: str
    data: dict[str, Any]


class Registry:
    """A home folder and a Redis. Safe to use from several threads; any method may raise `redis.RedisError`."""

    def __init__(self, settings: Settings) -> None:
        """Make the home folder; nothing is asked of Redis yet. Raises `ValueError` where no Redis is named."""
        if settings.redis_url is None:
            raise ValueError("no Redis is named: set ERRATA_REDIS_URL, or use `errata up`, which starts its own")
        self.settings = settings
        self._home = settings.home
        self.artifacts = Artifacts(settings.home)
        self.edit_files = EditFiles(settings.home / "edits")
        self.shards = ShardFiles(settings.home / "edits")
        self.contexts = ContextFiles(settings.home / "contexts")
        self.journal = Journal.of(settings.home)
        self.aliases = Aliases.of(settings.home)
        self.probes = Probes.of(settings.home)
        self.fact_sets = FactSets(self.artifacts)
        self.redis = Redis.from_url(settings.redis_url, decode_responses=True)
        # Reads that wait for an event must not be cut off by the socket's own timeout.
        self._waiting_redis = Redis.from_url(settings.redis_url, decode_responses=True, socket_timeout=None)
        self._queue_redis = Redis.from_url(settings.redis_url)
        self.jobs = JobQueue(self._queue_redis, settings.job_timeout_s)
        self._idempotency_keys = IdempotencyKeys(self.redis, "edit")
        self.evaluations = Measurements(EVALUATIONS, settings, self.redis, self.jobs)
        self.traces = Measurements(TRACES, settings, self.redis, self.jobs)

    def ping(self) -> bool:
        """Whether Redis answers. Never raises."""
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def close(self) -> None:
        """Close the connections."""
        for connection in (self.redis, self._waiting_redis, self._queue_redis):
            connection.close()

    # The base model

    def bind_base(self, name: str, digest: str) -> None:
        """Tie the home folder to its base model at the first start.

        Raises:
            WrongBaseModel: the folder belongs to a model with another digest.
        """
        base.bind(self._home, name, digest)

    def is_bound(self) -> bool:
        """Whether the home folder belongs to a base model yet."""
        return base.is_bound(self._home)

    def bound_base(self) -> BoundBase:
        """The base model of this home folder. Raises `UnknownVersion` while there is none."""
        return BoundBase.of(self._home)

    # Edits: how they come in

    def create_edit(
        self,
        request: EditRequest | RebuildRequest,
        idempotency_key: str | None = None,
        *,
        by: str | None = None,
        refuse_conflicts: bool = False,
        retries: str | None = None,
        sha256: str | None = None,
    ) -> tuple[Edit, bool]:
        """Queue an edit. The bool is False where the same key came with the same body before: it is that edit then.

        Args:
            by: who sent it.
            refuse_conflicts: whether it must not change facts that are there.
            retries: the edit whose facts that did not take it tries again.
            sha256: of what was asked for, where that is not the request itself.

        Raises:
            IdempotencyMismatch: the key came with another body within 24 hours.
            QueueFull: `settings.max_queued_edits` are waiting.
            UnknownVersion: `request.base` is not there.
            UnknownFacts: facts are to be withdrawn that are not there, and no edit is under way that may bring them.
            FactConflict: `refuse_conflicts`, and facts are there with another object.
            InvalidFacts: the new fact set would be too large.
            Conflict: it names a base that does not serve, and would go live; or the weights that are to be built again
                are there.
        """
        sha256 = sha256 or body_sha256(request, refuse_conflicts)
        if idempotency_key is not None and (known := self.edit_of_key(idempotency_key, sha256)):
            return known, False
        if isinstance(request, RebuildRequest) and (under_way := self._rebuild_of(request.rebuild)):
            return under_way, False
        if (waiting := self.queued()) >= self.settings.max_queued_edits:
            raise QueueFull(f"{waiting} edits are waiting, and no more may; try again later")
        edit_id, created_at = f"edit_{time.time_ns():016x}{secrets.token_hex(4)}", now()
        foreseen = self._foreseen(request, Origin(edit_id, by, created_at), refuse_conflicts)
        accepted = AcceptedRequest(
            id=edit_id,
            created_at=created_at,
            by=by,
            idempotency_key=idempotency_key,
            body_sha256=sha256,
            refuse_conflicts=refuse_conflicts,
            retries=retries,
            foreseen=foreseen,
            request=self._with_whole_gate(request),
        )
        self.edit_files.accept(accepted)
        edit = accepted.queued_edit()
        if not self.remember_key(accepted):  # another request with this key was quicker
            self.edit_files.withdraw(accepted.id)
            return self.create_edit(
                request, idempotency_key, by=by, refuse_conflicts=refuse_conflicts, retries=retries, sha256=sha256
            )
        self.put_edit(edit)
        self.jobs.put_edit(edit.id)
        return edit, True

    def _with_whole_gate(self, request: EditRequest | RebuildRequest) -> EditRequest | RebuildRequest:
        """The request with the settings' bounds where it gives none: what is asked of its version from now on."""
        if isinstance(request, RebuildRequest):
            return request
        defaults = Gate(**{name: getattr(self.settings, f"gate_{name}") for name in Gate.model_fields})
        return request.model_copy(update={"gate": request.gate.completed_by(defaults)})

    def _foreseen(
        self, request: EditRequest | RebuildRequest, origin: Origin, refuse_conflicts: bool
    ) -> dict[str, object]:
        """What an edit would do to the facts as they are now."""
        if isinstance(request, RebuildRequest):
            if not self.version(request.rebuild).dropped:
                raise Conflict(f"the weights of version {request.rebuild} are there")
            return {}
        active = self.active()
        base = active if request.base is None else request.base
        facts = self.facts(base)
        if request.goes_live and base != active:
            raise Conflict(
                f"version {active} serves, and an edit of version {base} would take it out of service: send it with "
                f"base {active}, or with `activate` false, and activate what comes of it"
            )
        try:
            return amend(facts, base, request, origin, refuse_conflicts=refuse_conflicts).as_shown()
        except UnknownFacts:
            if request.base is None and self.redis.scard(keys.UNFINISHED):
                return {}
            raise

    def _rebuild_of(self, number: int) -> Edit | None:
        """The edit under way that builds a version's weights again."""
        edits = map(self.edit, self.unfinished())
        return next((edit for edit in edits if edit.rebuild and edit.version == number), None)

    def edit_of_key(self, key: str, sha256: str) -> Edit | None:
        """The edit that came with an idempotency key. Raises `IdempotencyMismatch` where its body had another hash."""
        if (known := self._idempotency_keys.known(key, sha256)) is None:
            return None
        edit = self.edit(known)
        if not edit.status.final and not self.redis.exists(keys.edit(edit.id)):
            self.put_edit(edit)  # Redis has lost it; now that it counts as unfinished, recovery queues it
        return edit

    def remember_key(self, accepted: AcceptedRequest) -> bool:
        """Let a request's idempotency key stand for its edit. False where it stands for another one already."""
        return self._idempotency_keys.remember(
            accepted.idempotency_key, accepted.body_sha256, accepted.id, accepted.created_at
        )

    # Edits: how they stand

    def edit(self, edit_id: str) -> Edit:
        """How an edit stands. Raises `UnknownEdit`."""
        record, progress = cast(list[str | None], self.redis.mget(keys.edit(edit_id), keys.edit_progress(edit_id)))
        if record is None:
            accepted = self.edit_files.accepted(edit_id)
            return self.edit_files.outcome(edit_id) or accepted.queued_edit()
        edit = Edit.model_validate_json(record)
        if progress is not None and edit.status is EditStatus.RUNNING:
            return edit.model_copy(update={"progress": Progress.model_validate_json(progress)})
        return edit

    def fact_outcomes(self, edit_id: str) -> tuple[FactOutcome, ...]:
        """How each fact of an edit's version took, in canonical order.

        Raises:
            UnknownEdit: there is no such edit.
            Conflict: no version of it was measured, or not fact by fact.
        """
        edit = self.edit(edit_id)
        outcomes = self.edit_files.fact_outcomes(edit_id)
        if outcomes is None:
            kind = "builds weights again, and" if edit.rebuild else f"is {edit.status}, and"
            raise Conflict(f"{edit_id} {kind} no facts were measured for it one by one")
        return outcomes

    def edits(self, limit: int = 20, after: str | None = None) -> Page[Edit]:
        """Newest first. The cursor is an edit id."""
        upper = "+" if after is None else f"({after}"
        ids = self.redis.zrevrangebylex(keys.EDITS, upper, "-", start=0, num=limit + 1)
        return page_of([self.edit(edit_id) for edit_id in cast(list[str], ids)], limit, lambda edit: edit.id)

    def count_edits(self) -> dict[EditStatus, int]:
        """How many edits have each status."""
        counts = Counter(cast(list[str], self.redis.hvals(keys.STATUSES)))
        return {status: counts[status] for status in EditStatus}

    def unfinished(self) -> list[str]:
        """The edits that are queued or running, oldest first."""
        return sorted(cast(set[str], self.redis.smembers(keys.UNFINISHED)))

    def count_stages(self) -> dict[Stage, int]:
        """How many running edits are in each stage, of those that have told of one."""
        names = [keys.edit_progress(edit_id) for edit_id in self.unfinished()]
        told = [record for record in cast(list[str | None], self.redis.mget(names) if names else []) if record]
        counts = Counter(Progress.model_validate_json(record).stage for record in told)
        return {stage: counts[stage] for stage in Stage}

    def update_edit(self, edit_id: str, **changes: Any) -> Edit:
        """Change an edit's record and tell those who follow it; `finished_at` is set with a final status.

        An edit that has ended stays as it ended, and that is what is returned.
        """
        if outcome := self.edit_files.outcome(edit_id):
            self.put_edit(outcome)
            return outcome
        edit = self.edit(edit_id).model_copy(update={"progress": None, **changes})
        if edit.status.final:
            edit = self.edit_files.finish(edit.model_copy(update={"finished_at": now()}))
        self.put_edit(edit)
        if not edit.status.final and (outcome := self.edit_files.outcome(edit_id)):  # it ended at this very moment
            self.put_edit(outcome)
            return outcome
        return edit

    def put_edit(self, edit: Edit) -> None:
        """Write an edit's record to Redis as it is, with its place in the lists and a status event.

        Once an edit has ended, nothing is left of its shards and of the jobs that wait.
        """
        if edit.status.final:
            self.shards.drop(edit.id)
            self.jobs.forget_edit(edit.id)
        with self.redis.pipeline(transaction=True) as pipeline:
            _write_record(pipeline, edit)
            pipeline.execute()
        self._tell(edit.id, "status", edit.model_dump_json())

    def progress(self, edit_id: str, progress: Progress) -> None:
        """Note how far a running edit is and tell those who follow it, unless it was seen to be as far already, or
        they were told just now. Several workers may say it, each what it knows."""
        name, told = keys.edit_progress(edit_id), keys.edit_told(edit_id)
        record = progress.model_dump_json()

        def write(pipeline: Pipeline) -> None:
            known = cast(str | None, pipeline.get(name))
            before = None if known is None else Progress.model_validate_json(known)
            just_told = bool(pipeline.exists(told))
            pipeline.multi()
            if before is None or _is_news(before, progress, just_told):
                pipeline.set(name, record, ex=EVENTS_TTL_S)
                pipeline.set(told, 1, px=PROGRESS_EVERY_MS)
                _append_event(pipeline, edit_id, "progress", record)

        self.redis.transaction(write, name)

    def log(self, edit_id: str, level: str, message: str) -> None:
        """Tell those who follow an edit something in words. `level` is `info`, `warning` or `error`."""
        self._tell(edit_id, "log", json.dumps({"level": level, "message": message}))

    def request_cancel(self, edit_id: str) -> Edit:
        """Ask an edit to stop: one that no worker has in hand has then ended, another one ends at its next step.

        One that has made its version already ends as it would have ended.

        Raises:
            UnknownEdit: there is no such edit.
            Conflict: it has ended otherwise.
        """
        edit = self.edit(edit_id)
        if edit.status is EditStatus.CANCELLED:
            return edit
        if edit.status.final:
            raise Conflict(f"{edit_id} has ended: {edit.status}")
        self.redis.set(keys.edit_cancel(edit_id), 1, ex=EVENTS_TTL_S)
        if edit.status is EditStatus.QUEUED or edit_id not in map(edit_of, self.jobs.held()):
            return self.end_as_cancelled(edit_id)
        return edit

    def end_as_cancelled(self, edit_id: str) -> Edit:
        """End an edit that was asked to stop. One that has made its version is left as it is: its job is to settle
        what becomes of it."""
        with self.deciding():  # nobody publishes meanwhile
            if self.artifacts.of_edit(edit_id):
                return self.edit(edit_id)
            return self.update_edit(edit_id, status=EditStatus.CANCELLED)

    def cancel_requested(self, edit_id: str) -> bool:
        """Whether the edit is to stop."""
        return bool(self.redis.exists(keys.edit_cancel(edit_id)))

    def events(self, edit_id: str, after: str = "0", block_ms: int | None = None) -> list[Event]:
        """What happened to an edit after the event with id `after`, oldest first.

        Waits up to `block_ms` milliseconds for the first one; the list may be empty. Nothing follows a `status`
        event with a final status, and each edit that has ended gives one. Raises `UnknownEdit`.
        """
        edit = self.edit(edit_id)
        stream = keys.edit_events(edit_id)
        if edit.status.final and not self.redis.exists(stream):  # it has expired
            return [Event(after, "status", edit.model_dump(mode="json"))]
        return [
            Event(event_id, fields["name"], json.loads(fields["data"]))
            for event_id, fields in self._read_stream(stream, after, block_ms)
        ]

    def _tell(self, edit_id: str, name: str, data: str) -> None:
        with self.redis.pipeline(transaction=True) as pipeline:
            _append_event(pipeline, edit_id, name, data)
            pipeline.execute()

    # Target shards

    def cut(self, orders: Sequence[ShardOrder]) -> None:
        """Hand the search for an edit's targets to any number of workers, and the rest of it to the last of them.

        Nothing is left undone where a worker dies in the middle of this: the orders count, and recovery sees to them.
        """
        edit_id = orders[0].edit
        self.redis.delete(keys.edit_searching(edit_id))
        self.shards.write(orders)
        if self.edit_files.outcome(edit_id):  # it ended at this very moment
            self.shards.drop(edit_id)
        else:
            self.queue_pending_shards(edit_id)

    def queue_pending_shards(self, edit_id: str) -> None:
        """Queue jobs for all shards of an edit that are not done, and the one that is to follow them."""
        pending = self.shards.pending(edit_id)
        self.jobs.put_shards(edit_id, pending)
        self.jobs.put_begun_edit(edit_id, pending)

    def note_search(self, order: ShardOrder, done: int) -> int:
        """Note that `done` facts of a shard have their targets; how many facts of the whole edit have theirs."""
        searching = keys.edit_searching(order.edit)
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(searching, str(order.shard), str(len(order.facts) - done))
            pipeline.hgetall(searching)
            pipeline.expire(searching, EVENTS_TTL_S)
            _, noted, _ = pipeline.execute()
        # A shard that is not pending is done, whatever was noted of it last; one that was not begun has all to find.
        pending = [shard for shard in self.shards.pending(order.edit) if shard < len(order.sizes)]
        return order.total - sum(int(noted.get(str(shard), order.sizes[shard])) for shard in pending)

    # Versions

    def publish(self, draft: Draft, manifest: Manifest) -> Manifest:
        """Make a draft a version, with the next number. Call it under `deciding`."""
        published = self.artifacts.publish(draft, manifest)
        self.put_version(published.id)
        return published

    def restore(self, manifest: Manifest, draft: Draft) -> Manifest:
        """Give a version its weights back. Call it under `deciding`. Raises `UnknownVersion`."""
        restored = self.artifacts.restore(manifest, draft)
        self.put_version(restored.id)
        return restored

    def put_version(self, number: int) -> None:
        """Write a version's record to Redis. Raises `UnknownVersion`, `CorruptArtifact`."""
        record = self.artifacts.version(number).model_dump_json()
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.version(number), record)
            pipeline.zadd(keys.VERSIONS, {str(number): number})
            pipeline.execute()

    def versions(self, limit: int = 20, after: int | None = None) -> Page[Version]:
        """Newest first, the base last. The cursor is a number."""
        upper = "+inf" if after is None else f"({after}"
        found = self.redis.zrevrangebyscore(keys.VERSIONS, upper, 1, start=0, num=limit + 1)
        numbers = [int(number) for number in cast(list[str], found)]
        if len(numbers) <= limit and (after is None or after > BASE_VERSION):
            numbers.append(BASE_VERSION)
        active, aliases = self.active(), self.aliases.all()
        versions = [self._version(number, active, aliases) for number in numbers]
        return page_of(versions, limit, lambda version: str(version.id))

    def version(self, number: int) -> Version:
        """One version; 0 is the base. Raises `UnknownVersion`, also for a deleted one."""
        if number != BASE_VERSION:
            self.artifacts.require(number)
        return self._version(number, self.active(), self.aliases.all())

    def _version(self, number: int, active: int, aliases: Mapping[str, int]) -> Version:
        """What changes of a version is read where it is true, whatever Redis holds of the rest."""
        if number == BASE_VERSION:
            version = self._base_version()
        elif record := self.redis.get(keys.version(number)):
            dropped = self.artifacts.folder(number).is_dropped
            version = Version.model_validate_json(cast(str, record)).model_copy(update={"dropped": dropped})
        else:
            version = self.artifacts.version(number)
        status = VersionStatus.ACTIVE if number == active else version.status
        names = tuple(name for name, named in aliases.items() if named == number)
        measured = self.evaluations.newest_success_of(number)
        changes = {"status": status, "aliases": names, "evaluation": measured and measured.summary()}
        return version.model_copy(update=changes)

    def _base_version(self) -> Version:
        bound = self.bound_base()
        return Version(id=BASE_VERSION, digest=bound.digest, created_at=bound.bound_at)

    def facts(self, number: int) -> FactIndex:
        """A version's fact set; the base has none. Raises `UnknownVersion`, `CorruptArtifact`."""
        return self.fact_sets.of(number)

    def load_deltas(self, number: int, base_digest: str) -> dict[int, Delta]:
        """A version's update for each edited layer, checked against its manifest; none for the base.

        Raises:
            UnknownVersion: there is no such version, or it was deleted.
            WrongBaseModel: it was built on other base weights than those with `base_digest`.
            WeightsDropped: they were dropped to save room.
            CorruptArtifact: the file is missing, truncated, altered or unreadable.
        """
        from errata import deltas  # torch is needed for nothing else here

        return {} if number == BASE_VERSION else deltas.read(self.artifacts.delta_file(number, base_digest))

    def delete_version(self, number: int) -> None:
        """Drop a version's weights; its manifest and facts stay in the home folder as history.

        Raises:
            UnknownVersion: there is no such version.
            Conflict: it is the active one, or the base, or has a name.
        """
        if number == BASE_VERSION:
            raise Conflict("version 0 is the base model and cannot be deleted")
        with self.journal.locked():
            if number == self.journal.active():
                raise Conflict(f"version {number} is active; activate another one before deleting it")
            if names := self.aliases.names(number):
                raise Conflict(f"version {number} is called {', '.join(names)}; take the name away before deleting it")
            self.artifacts.delete(number)
            self.forget_version(number)

    def forget_version(self, number: int) -> None:
        """Take the record of a deleted version out of Redis."""
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(keys.version(number))
            pipeline.zrem(keys.VERSIONS, str(number))
            pipeline.execute()

    def name_version(self, name: str, number: int) -> None:
        """Let an alias stand for a version, which is never dropped then.

        Raises:
            UnknownVersion: there is no such version.
            WeightsDropped, CorruptArtifact: its weights are not there.
        """
        with self.journal.locked():
            if number != BASE_VERSION:
                self.artifacts.delta_file(number, self.bound_base().digest)
            self.aliases.put(name, number)

    def take_name(self, name: str) -> None:
        """Take an alias away. Raises `UnknownAlias`."""
        with self.journal.locked():
            self.aliases.remove(name)

    # What serves

    def active(self) -> int:
        """The version that serves."""
        pointer = self.redis.get(keys.ACTIVE)
        return self.journal.active() if pointer is None else int(cast(str, pointer))

    @contextmanager
    def deciding(self) -> Iterator[int]:
        """Hold the journal's lock, so that the active version, which is given, stays the active one meanwhile."""
        with self.journal.locked():
            yield self.journal.active()

    def activate(self, number: int, by: str = "api", who: str | None = None) -> Activation:
        """Make a version the one that serves; a rejected one too, since whoever names it wants it.

        It is in force when this returns, yet replicas swap in their own time (`await_replicas`); `replicas` is empty.

        Args:
            by: what caused it: an edit's id, `rollback` or `api`.
            who: whose request it was.

        Raises:
            UnknownVersion: there is no such version.
            CorruptArtifact, WrongBaseModel, WeightsDropped: it cannot be used. What served goes on serving.
        """
        with self.journal.locked():
            if number != BASE_VERSION:
                self.artifacts.delta_file(number, self.bound_base().digest)
            previous = self.journal.active()
            if number != previous:
                self.journal.append(number, by, who)
            self.put_active(number, by)
        return Activation(active=number, previous=previous)

    def rollback(self, to: int | None = None, who: str | None = None) -> Activation:
        """Go back to a version; without `to`, to the one that was active before the present one.

        Rolling back again goes further back along the same trail, in the end to the base; an activation in between
        starts a new trail from where it was made. Deleted versions are passed over.

        Raises:
            UnknownVersion, CorruptArtifact, WrongBaseModel, WeightsDropped: as `activate`.
            Conflict: there is nothing further back.
        """
        with self.journal.locked():
            if to is None:
                if not (before := self.before_active()):
                    raise Conflict(f"version {self.journal.active()} serves, and nothing was active before it")
                to = before[-1]
            return self.activate(to, by=ROLLBACK, who=who)

    def before_active(self) -> list[int]:
        """The versions that rollbacks would go to, the next one last."""
        there = {BASE_VERSION, *self.artifacts.numbers()}
        active = self.journal.active()
        return [number for number in self.journal.trail()[:-1] if number in there and number != active]

    def activations(self) -> tuple[JournalEntry, ...]:
        """All activations, oldest first."""
        return self.journal.entries()

    def put_active(self, number: int, by: str) -> None:
        """Write the active version to Redis and wake the replicas."""
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.ACTIVE, number)
            pipeline.xadd(keys.ACTIVATIONS, {"active": number, "by": by}, maxlen=ACTIVATIONS_KEPT, approximate=True)
            pipeline.execute()

    def activation_cursor(self) -> str:
        """Where the stream of activations ends now. Take it before reading `active`, and nothing is missed."""
        return self._stream_end(keys.ACTIVATIONS)

    def follow_activations(self, after: str, block_ms: int) -> str:
        """Wait up to `block_ms` milliseconds for an activation after the cursor `after`; the new cursor, or the same.

        What is to be served is then `active()`.
        """
        news = self._read_stream(keys.ACTIVATIONS, after, block_ms)
        return news[-1][0] if news else after

    # Replicas

    def announce_replica(self, replica: Replica) -> None:
        """Say which version a serving process serves. To be said again within `settings.replica_ttl_s`."""
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.replica(replica.id), replica.model_dump_json(), ex=self.settings.replica_ttl_s)
            pipeline.sadd(keys.REPLICAS, replica.id)
            pipeline.execute()

    def withdraw_replica(self, replica_id: str) -> None:
        """A serving process ends."""
        self.redis.delete(keys.replica(replica_id))
        self.redis.srem(keys.REPLICAS, replica_id)

    def replicas(self) -> tuple[Replica, ...]:
        """The live serving processes, by id."""
        replicas = []
        for replica_id in sorted(cast(set[str], self.redis.smembers(keys.REPLICAS))):
            record = self.redis.get(keys.replica(replica_id))
            if record is None:
                self.redis.srem(keys.REPLICAS, replica_id)
            else:
                replicas.append(Replica.model_validate_json(cast(str, record)))
        return tuple(replicas)

    def await_replicas(self, number: int, timeout_s: float) -> tuple[Replica, ...]:
        """Wait until every live replica serves `number`, or `timeout_s` seconds; the live replicas then."""
        deadline = time.monotonic() + timeout_s
        while True:
            replicas = self.replicas()
            if all(replica.version == number for replica in replicas) or time.monotonic() > deadline:
                return replicas
            time.sleep(REPLICA_POLL_S)

    # Workers

    def workers(self) -> int:
        """How many live workers have their model loaded and take edits."""
        return self.jobs.num_workers()

    def queued(self) -> int:
        """How many edits wait to be begun."""
        return self.jobs.num_edits_waiting()

    # Streams

    def _read_stream(self, stream: str, after: str, block_ms: int | None) -> list[tuple[str, dict[str, str]]]:
        answer = cast(
            list[tuple[str, list[tuple[str, dict[str, str]]]]],
            self._waiting_redis.xread({stream: after}, block=block_ms),
        )
        return answer[0][1] if answer else []

    def _stream_end(self, stream: str) -> str:
        last = cast(list[tuple[str, Any]], self.redis.xrevrange(stream, count=1))
        return last[0][0] if last else "0"


def _write_record(pipeline: Pipeline, edit: Edit) -> None:
    pipeline.set(keys.edit(edit.id), edit.model_dump_json())
    pipeline.zadd(keys.EDITS, {edit.id: 0})
    pipeline.hset(keys.STATUSES, edit.id, edit.status)
    if edit.status.final:
        pipeline.srem(keys.UNFINISHED, edit.id)
        pipeline.delete(*(name(edit.id) for name in OF_UNFINISHED))
    else:
        pipeline.sadd(keys.UNFINISHED, edit.id)
    if edit.status is EditStatus.QUEUED:  # what comes is another attempt
        pipeline.delete(keys.edit_progress(edit.id))


def _append_event(pipeline: Pipeline, edit_id: str, name: str, data: str) -> None:
    stream = keys.edit_events(edit_id)
    pipeline.xadd(stream, {"name": name, "data": data}, maxlen=EVENTS_KEPT, approximate=True)
    pipeline.expire(stream, EVENTS_TTL_S)


def _is_news(before: Progress, after: Progress, just_told: bool) -> bool:
    """Whether it is to be told. That is so at most a thousand times a stage, so that the events of an edit do not
    push one another out of its stream."""
    if after.stage is not before.stage or after.total != before.total:
        return True
    if after.done == after.total:
        return before.done < before.total
    return not just_told and after.done * 1000 // after.total > before.done * 1000 // before.total
