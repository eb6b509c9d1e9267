"""`errata import`, `errata reindex`, `errata verify` and `errata to-bucket`: a home folder, without its processes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from errata_cli.errors import CommandError
from errata_cli.options import Home, Model, settings_with

if TYPE_CHECKING:
    from errata_registry.commits import Commits
    from errata_registry.settings import Settings


def import_version(
    archive: Annotated[Path, typer.Argument(help="the tar that was exported, or the folder it was unpacked to")],
    model: Model = None,
    home: Home = None,
) -> None:
    """Take in a version that another home exported (`delta`)."""
    if not archive.exists():  # before the settings, which take longer to load than all else
        raise CommandError(f"{archive} does not exist")
    settings = settings_with(model=model, home=home)

    from errata_client.tables import escaped
    from errata_registry.home import keep_private
    from errata_registry.occupancy import Occupied
    from errata_registry.versions.transfer import import_version

    keep_private(settings.home)
    with closing(Occupied(settings.home)):
        version = import_version(settings.home, archive, commits_with(settings))
    print(escaped(f"version {version.id}: {version.facts} facts, was {version.imported_from}"))


def commits_with(settings: Settings) -> Commits:
    """Return how a home folder commits. Raises `CommandError` where its bucket cannot be used."""
    from errata_registry.bucket.commits import commits_of

    try:
        return commits_of(settings)
    except ValueError as error:
        raise CommandError(str(error)) from error


def reindex(model: Model = None, home: Home = None) -> None:
    """Rebuild Redis from the home folder."""
    settings = settings_with(model=model, home=home)

    from errata_registry.home import keep_private
    from errata_registry.jobs.recovery import reindex
    from errata_registry.registry import Registry
    from redis.exceptions import ConnectionError as NoRedis

    keep_private(settings.home)
    try:
        registry = Registry(settings)
    except ValueError as error:  # no Redis is named
        raise CommandError(str(error)) from error
    with closing(registry):
        try:
            print(reindex(registry))
        except NoRedis as error:
            raise CommandError(f"cannot reach Redis: {error}") from error


def verify(model: Model = None, home: Home = None) -> None:
    """Check every version, edit and activation of a home folder.

    Exits with 1 where something is not as it should be.
    """
    settings = settings_with(model=model, home=home)

    from errata_client.tables import escaped
    from errata_registry.verification import verify

    verified = verify(settings.home, commits_with(settings))
    print("\n".join(map(escaped, verified.lines)))
    raise typer.Exit(1 if verified.faults else 0)


def to_bucket(home: Home = None) -> None:
    """Take a whole home folder to the bucket of ERRATA_BUCKET.

    Versions, jobs, names and history: other machines begin with all of it, and the folder is a copy from then on. None
    of its processes may run meanwhile.
    """
    settings = settings_with(home=home)
    if settings.bucket is None:
        raise CommandError("no bucket is named: set ERRATA_BUCKET to one such as s3://bucket/prefix, which is empty")

    from errata_registry.bucket.to_bucket import to_bucket
    from errata_registry.home import is_bound, keep_private

    if not is_bound(settings.home):  # before anything is changed in a folder that may be somebody else's
        raise CommandError(f"{settings.home} is no home folder that a service or worker has begun")
    keep_private(settings.home)
    try:
        taken = to_bucket(settings.home, settings.bucket)
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(
        f"{settings.bucket} has {settings.home}: {taken.files} files and {taken.updates} updates of versions, "
        f"{taken.bytes / 1e6:.1f} MB"
    )
