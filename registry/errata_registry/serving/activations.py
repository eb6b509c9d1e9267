"""Which version serves: activating one, going back, and waking the replicas that follow."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from errata_client.records import BASE_VERSION, Activation
from redis import Redis, RedisError

from errata.errors import Conflict, UnknownVersion
from errata_registry import keys
from errata_registry.commits import FOLDER, Commits
from errata_registry.home import BoundBase
from errata_registry.serving.journal import ROLLBACK, Journal
from errata_registry.versions.store import Artifacts

ENTRIES_KEPT = 1_000

logger = logging.getLogger(__name__)


class Activations:
    """The journal of activations, and a stream in Redis that wakes those who follow it."""

    def __init__(self, home: Path, artifacts: Artifacts, redis: Redis, commits: Commits = FOLDER) -> None:
        self.journal = Journal(home, commits)
        self._home = home
        self._artifacts = artifacts
        self._redis = redis

    def active(self) -> int:
        """Return the version that serves. Raises `CorruptArtifact` where the journal cannot be read."""
        return self.journal.active()

    def previous(self) -> int:
        """Return the version that served before the one that serves now, which may have been deleted since.

        Raises `UnknownVersion` where none did, `CorruptArtifact` as `active`.
        """
        entries = self.journal.entries()
        if not entries:
            raise UnknownVersion(f"version {BASE_VERSION} serves, and nothing was active before it")
        return entries[-1].previous

    @contextmanager
    def deciding(self) -> Iterator[int]:
        """Hold the journal's lock, so that the active version, which is given, stays the active one meanwhile."""
        with self.journal.locked():
            yield self.journal.active()

    def require_redis(self) -> None:
        """Raise `RedisError` where replicas could not be told of an activation, and what is asked for is to be refused
        before it is done."""
        self._redis.set(keys.WRITABLE, 1, ex=1)

    def activate(self, number: int, by: str = "api", who: str | None = None, note: str | None = None) -> Activation:
        """Make a version the one that serves; a rejected one too, since whoever names it wants it.

        It is in force when this returns; replicas swap in their own time (`Replicas.wait_for`), so `replicas` is empty.

        Args:
            by: what caused it: an edit's id, `rollback` or `api`.
            who: whose request it was.
            note: why, in that person's words.

        Raises as `Artifacts.delta_file`; what served then goes on serving.
        """
        with self.journal.locked():
            if number != BASE_VERSION:
                self._artifacts.delta_file(number, BoundBase.of(self._home).digest)
            previous = self.journal.active()
            if number != previous:
                self.journal.append(number, by, who, note)
        try:
            entry: Any = {"active": number, "by": by}
            self._redis.xadd(keys.ACTIVATIONS, entry, maxlen=ENTRIES_KEPT, approximate=True)
        except RedisError as error:  # replicas look by themselves every now and then
            logger.warning("version %d is active, and replicas hear of it later: %s", number, error)
        return Activation(active=number, previous=previous)

    def rollback(self, to: int | None = None, who: str | None = None, note: str | None = None) -> Activation:
        """Go back to a version; without `to`, to the one that was active before the present one.

        Rolling back again goes further back along the same trail, in the end to the base; an activation in between
        starts a new trail from where it was made. Deleted versions are passed over.

        Raises as `activate`, and `Conflict` where there is nothing further back.
        """
        with self.journal.locked():
            return self.activate(self.next_rollback() if to is None else to, by=ROLLBACK, who=who, note=note)

    def next_rollback(self) -> int:
        """Return the version that a rollback without `to` goes to. Raises `Conflict` where there is none."""
        if not (before := self.before_active()):
            raise Conflict(f"version {self.journal.active()} serves, and nothing was active before it")
        return before[-1]

    def before_active(self) -> list[int]:
        """Return the versions that rollbacks would go to, the next one last."""
        there = {BASE_VERSION, *self._artifacts.numbers()}
        active = self.journal.active()
        return [number for number in self.journal.trail()[:-1] if number in there and number != active]

    # Those who follow

    def cursor(self) -> str:
        """Return where the stream of activations ends now. Take it before reading `active`, and nothing is missed."""
        last = cast(list[tuple[str, Any]], self._redis.xrevrange(keys.ACTIVATIONS, count=1))
        return last[0][0] if last else "0"

    def follow(self, after: str, block_ms: int) -> str:
        """Wait up to `block_ms` milliseconds for an activation after the cursor `after`; return the new cursor, or the
        same. What is to be served is then `active()`."""
        answer = cast(
            list[tuple[str, list[tuple[str, Any]]]],
            self._redis.xread({keys.ACTIVATIONS: after}, block=block_ms),
        )
        return answer[0][1][-1][0] if answer else after
