"""What a client's Idempotency-Key stands for: what its request made, for a day."""

from __future__ import annotations

import json
from datetime import datetime
from typing import cast

from redis import Redis

from errata.errors import IdempotencyMismatch
from errata_registry import keys
from errata_registry.records import now

IDEMPOTENCY_TTL_S = 24 * 3600


class IdempotencyKeys:
    """The keys of one kind of requests, such as `edit`."""

    def __init__(self, redis: Redis, kind: str) -> None:
        self._redis = redis
        self._kind = kind

    def known(self, key: str, body_sha256: str) -> str | None:
        """The id of what was made for a key, None where it is new. Raises `IdempotencyMismatch`."""
        found = self._redis.get(keys.idempotency(self._kind, key))
        if found is None:
            return None
        remembered = json.loads(cast(str, found))
        if remembered["body"] != body_sha256:
            raise IdempotencyMismatch(f"this idempotency key belongs to {remembered['id']}, which has another body")
        return str(remembered["id"])

    def remember(self, key: str | None, body_sha256: str, made: str, created_at: datetime) -> bool:
        """Let a key stand for what was made, by its id. False where it stands for something else already."""
        seconds_left = IDEMPOTENCY_TTL_S - int((now() - created_at).total_seconds())
        if key is None or seconds_left <= 0:
            return True
        name = keys.idempotency(self._kind, key)
        value = json.dumps({"id": made, "body": body_sha256})
        return bool(self._redis.set(name, value, nx=True, ex=seconds_left)) or self._redis.get(name) == value
