"""`errata reindex`: a lost Redis, from the home folder."""

from __future__ import annotations

from contextlib import closing

from errata_cli.errors import CommandError
from errata_cli.options import Home, Model, settings_with


def reindex(model: Model = None, home: Home = None) -> None:
    """Rebuild Redis from the home folder."""
    settings = settings_with(model=model, home=home)

    from errata_registry.jobs.recovery import reindex
    from errata_registry.registry import Registry
    from redis.exceptions import ConnectionError as NoRedis

    try:
        registry = Registry(settings)
    except ValueError as error:  # no Redis is named
        raise CommandError(str(error)) from error
    with closing(registry):
        try:
            print(reindex(registry))
        except NoRedis as error:
            raise CommandError(f"cannot reach Redis: {error}") from error
