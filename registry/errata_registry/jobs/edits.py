"""Edits: what is peculiar to them among the jobs. They change fact sets, make versions, and are cut into shards."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from errata_client.records import BASE_VERSION, Edit, FactOutcome, Gate

from errata.errors import Conflict, CorruptArtifact, UnknownFacts, UnknownJob, UnknownVersion
from errata.files import durable
from errata_registry.commits import FOLDER, Commits
from errata_registry.jobs.folder import AcceptedJob, body_sha256, shown_of
from errata_registry.jobs.kinds import EDIT
from errata_registry.jobs.live import LiveJobs
from errata_registry.jobs.queue import TaskQueue
from errata_registry.jobs.requests import BOUNDS_ON_FACTS, EditRequest, RebuildRequest, completed_gate
from errata_registry.jobs.shards import ShardOrder, ShardOrders
from errata_registry.jobs.store import JobStore
from errata_registry.settings import Settings
from errata_registry.stored import read_lines
from errata_registry.versions.change import change_facts
from errata_registry.versions.facts import Origin
from errata_registry.versions.versions import Versions

FACT_OUTCOMES = "facts.jsonl"

AcceptedEdit = AcceptedJob[EditRequest | RebuildRequest]


class Edits(JobStore[EditRequest | RebuildRequest, Edit]):
    """All edits. Safe to use from several threads; methods may raise `redis.RedisError`."""

    def __init__(
        self, settings: Settings, live: LiveJobs, queue: TaskQueue, versions: Versions, commits: Commits = FOLDER
    ) -> None:
        super().__init__(EDIT, settings.home, live, queue, settings.max_queued_edits, commits)
        self.shards = ShardOrders(self.folder.path)
        self._settings = settings
        self._versions = versions
        self._artifacts = versions.artifacts
        self._activations = versions.activations

    # How they come in

    def create_edit(
        self,
        request: EditRequest | RebuildRequest,
        idempotency_key: str | None = None,
        *,
        by: str | None = None,
        route: str = "",
        refuse_conflicts: bool = False,
        retries: str | None = None,
        sha256: str | None = None,
    ) -> Edit:
        """Accept an edit and queue it; where the same key came with the same body before, return what that made.

        Args:
            by, route, refuse_conflicts, sha256: as `create`.
            retries: the edit whose facts that did not take it tries again.

        Raises:
            IdempotencyMismatch, QueueFull: as `create`.
            UnknownVersion, UnknownAlias: `request.base` is not there.
            UnknownFacts: facts are to be withdrawn that are not there, and no edit is under way that may bring them.
            FactConflict: `refuse_conflicts`, and facts are there with another object.
            TooManyFacts: the new fact set would be too large.
            Conflict: it names a base that does not serve, and would go live; or the weights that are to be built again
                are there.
        """
        sha256 = sha256 or body_sha256(request, refuse_conflicts)
        if known := self.of_key(idempotency_key, by, sha256, route) or self._rebuild_under_way(request):
            return known
        shown = {"retries": retries}
        return self.create(
            request, shown, idempotency_key, by=by, route=route, sha256=sha256, refuse_conflicts=refuse_conflicts
        )

    def completed(self, asked: AcceptedEdit) -> AcceptedEdit:
        """Add the settings' bounds where the gate gives none, which hold from now on, and what it would do to the facts
        as they are now."""
        request = asked.request
        foreseen: dict[str, object] = {}
        if isinstance(request, EditRequest):
            if request.base is not None:  # what a name stands for may be another version when a worker looks
                request = request.model_copy(update={"base": self._versions.number(request.base)})
            foreseen = self._foreseen(request, asked)
            asked_by_default = [
                name for name in Gate.model_fields if not request.partial or name not in BOUNDS_ON_FACTS
            ]
            defaults = Gate(**{name: getattr(self._settings, f"gate_{name}") for name in asked_by_default})
            request = request.model_copy(update={"gate": completed_gate(request.gate, defaults)})
        elif not self._artifacts.existing(request.rebuild).is_dropped:
            raise Conflict(f"the weights of version {request.rebuild} are there")
        shown = {**shown_of(dict(request)), **foreseen, **asked.shown}
        return asked.model_copy(update={"request": request, "shown": shown})

    def _foreseen(self, request: EditRequest, asked: AcceptedEdit) -> dict[str, object]:
        """Return what an edit would do to the facts as they are now."""
        active = self._activations.active()
        base = self._versions.number(request.base)
        facts = self._versions.facts(base)
        if request.goes_live and base != active:
            raise Conflict(
                f"version {active} serves, and an edit of version {base} would take it out of service: send it with "
                f"base {active}, or with `activate` false, and activate what comes of it"
            )
        origin = Origin(asked.id, asked.by, asked.created_at)
        try:
            return change_facts(facts, base, request, origin, refuse_conflicts=asked.refuse_conflicts).as_shown()
        except UnknownFacts:
            if request.base is None and self.folder.unfinished():
                return {}
            raise

    def _rebuild_under_way(self, request: EditRequest | RebuildRequest) -> Edit | None:
        """Return the edit under way that builds the same version's weights again."""
        if isinstance(request, RebuildRequest):
            for edit_id in self.folder.unfinished():
                with suppress(CorruptArtifact, UnknownJob):
                    if (edit := self.record(edit_id)).rebuild and edit.version == request.rebuild:
                        return edit
        return None

    # How their facts took

    def keep_fact_outcomes(self, edit_id: str, outcomes: Iterable[FactOutcome]) -> None:
        """Keep how the facts of its version took, in place of those of an earlier attempt; not once it has ended."""
        if self.folder.outcome(edit_id):  # by another hand, and it names what it found
            return
        lines = "".join(outcome.model_dump_json() + "\n" for outcome in outcomes)
        durable.write(self.folder.of(edit_id) / FACT_OUTCOMES, lines)

    def fact_outcomes(self, edit_id: str) -> tuple[FactOutcome, ...]:
        """Return how each fact of an edit's version took, in canonical order.

        For an edit that changed nothing it is as it was measured when the version was made.

        Raises `UnknownEdit`, `CorruptArtifact`, and `Conflict` where no version was measured, or not fact by fact.
        """
        edit = self.record(edit_id)
        there = (self.folder.of(edit_id) / FACT_OUTCOMES).exists()
        if not there and FACT_OUTCOMES not in self.folder.files(edit_id):
            if edit.message and edit.version is not None and (maker := self._artifacts.manifest(edit.version).edit):
                return self.fact_outcomes(maker)
            kind = "builds weights again, and" if edit.rebuild else f"is {edit.status}, and"
            raise Conflict(f"{edit_id} {kind} no facts were measured for it one by one")
        path = self.folder.file(edit_id, FACT_OUTCOMES)
        return read_lines(path, FactOutcome, f"{edit_id}: {FACT_OUTCOMES}")

    def facts_said(self, version: int) -> frozenset[str]:
        """Return the ids of the facts that a version is known to say: none where it was not measured here."""
        with suppress(CorruptArtifact, UnknownJob, UnknownVersion, Conflict):
            if version != BASE_VERSION and (edit_id := self._artifacts.manifest(version).edit) is not None:
                return frozenset(outcome.id for outcome in self.fact_outcomes(edit_id) if outcome.took)
        return frozenset()

    # How they are shared out

    def cut(self, orders: Sequence[ShardOrder]) -> None:
        """Hand the search for an edit's targets to any number of workers, and the rest of it to the last of them.

        Nothing is left undone where a worker dies in the middle of this: the orders count, and recovery sees to them.
        """
        edit_id = orders[0].edit
        self.live.forget_search(edit_id)
        self.shards.write(orders)
        if self.folder.outcome(edit_id):  # it ended at this very moment
            self.shards.drop(edit_id)
        else:
            pending = self.shards.pending(edit_id)
            self.queue.put_shards(edit_id, pending)
            self.queue.put_begun(edit_id, pending)

    def note_search(self, order: ShardOrder, done: int) -> int:
        """Note that `done` facts of a shard have their targets; return how many facts of the whole edit have theirs."""
        noted = self.live.note_search(order.edit, order.shard, len(order.facts) - done)
        # A shard that is not pending is done, whatever was noted of it last; one that was not begun has all to find.
        pending = [shard for shard in self.shards.pending(order.edit) if shard < len(order.sizes)]
        return order.total - sum(int(noted.get(str(shard), order.sizes[shard])) for shard in pending)

    # How they end

    def let_go(self, ended: Edit) -> None:
        """Forget all that was under way of an edit that has ended, its shards included."""
        self.shards.drop(ended.id)
        super().let_go(ended)

    def end_as_cancelled(self, job_id: str) -> Edit:
        """End an edit that was asked to stop.

        One that has made its version is left as it is: its job is to decide what becomes of it.
        """
        with self._activations.deciding():  # nobody publishes meanwhile
            if self._artifacts.of_edit(job_id):
                return self.record(job_id)
            return super().end_as_cancelled(job_id)
