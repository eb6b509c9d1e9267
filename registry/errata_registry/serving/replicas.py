"""The serving processes that live, and the version that each of them serves."""

import time
from typing import cast

from errata_client.records import Replica
from redis import Redis

from errata_registry import keys

POLL_S = 0.02
TRIED_ANEW_S = 5.0  # after an activation; a replica's first tries take three seconds, where they fail at once


class Replicas:
    """Who serves which version. Any method may raise `redis.RedisError`."""

    def __init__(self, redis: Redis, ttl_s: int) -> None:
        """`ttl_s`: seconds after which a silent replica counts as gone."""
        self._redis = redis
        self._ttl_s = ttl_s

    def announce(self, replica: Replica) -> None:
        """Say which version a serving process serves; to be said again before it counts as gone."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.replica(replica.id), replica.model_dump_json(), ex=self._ttl_s)
            pipeline.sadd(keys.REPLICAS, replica.id)
            pipeline.execute()

    def withdraw(self, replica_id: str) -> None:
        """Say that a serving process ends."""
        self._redis.delete(keys.replica(replica_id))
        self._redis.srem(keys.REPLICAS, replica_id)

    def live(self) -> tuple[Replica, ...]:
        """Return the live serving processes, by id."""
        replicas = []
        for replica_id in sorted(cast(set[str], self._redis.smembers(keys.REPLICAS))):
            record = self._redis.get(keys.replica(replica_id))
            if record is None:
                self._redis.srem(keys.REPLICAS, replica_id)
            else:
                replicas.append(Replica.model_validate_json(cast(str, record), extra="ignore"))
        return tuple(replicas)

    def wait_for(self, version: int, timeout_s: float, began: float | None = None) -> tuple[Replica, ...]:
        """Wait until every live replica serves a version or has given it up, or `timeout_s` seconds.

        Args:
            began: when it was activated, by `time.monotonic()`; now, where this is left out.

        Returns:
            the live replicas then.
        """
        now = time.monotonic()
        began, deadline = now if began is None else began, now + timeout_s
        while True:
            replicas = self.live()
            if time.monotonic() > deadline or all(
                replica.version == version or has_given_up(replica, version, began) for replica in replicas
            ):
                return replicas
            time.sleep(POLL_S)


def has_given_up(replica: Replica, version: int, began: float) -> bool:
    """Whether a replica has tried in vain to serve a version that was activated at `began` by `time.monotonic()`.

    An activation has it tried anew, so that for a while its word may be from before.
    """
    return replica.given_up == version and time.monotonic() > began + TRIED_ANEW_S
