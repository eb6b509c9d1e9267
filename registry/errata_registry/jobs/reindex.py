"""`errata reindex`: rebuild a lost Redis from the home folder."""

from __future__ import annotations

from errata_registry.jobs.recovery import Rebuilt, rebuild
from errata_registry.registry import Registry
from errata_registry.settings import Settings


def reindex(settings: Settings) -> Rebuilt:
    """Rebuild Redis from the home folder; to do it again changes nothing. Raises `redis.RedisError`."""
    registry = Registry(settings)
    try:
        return rebuild(registry)
    finally:
        registry.close()
