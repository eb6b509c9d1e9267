"""The serving processes that live, and the version that each of them serves."""

import time
from typing import cast

from errata_client.records import Replica
from redis import Redis

from errata_registry import keys

POLL_S = 0.02


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

    def wait_for(self, version: int, timeout_s: float) -> tuple[Replica, ...]:
        """Wait until every live replica serves a version, or `timeout_s` seconds; return the live replicas then."""
        deadline = time.monotonic() + timeout_s
        while True:
            replicas = self.live()
            if all(replica.version == version for replica in replicas) or time.monotonic() > deadline:
                return replicas
            time.sleep(POLL_S)
