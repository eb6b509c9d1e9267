"""`errata import`: a version that was built in another home folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from errata_cli.errors import CommandError
from errata_cli.options import Home, Model, settings_with


def import_version(
    archive: Annotated[Path, Argument(help="the tar that was exported, or the folder it was unpacked to")],
    model: Model = None,
    home: Home = None,
) -> None:
    """Take in a version that another home exported (`delta`)."""
    settings = settings_with(model=model, home=home)
    if not archive.exists():
        raise CommandError(f"{archive} does not exist")

    from errata_registry.versions.transfer import import_version

    version = import_version(settings.home, archive)
    print(f"version {version.id}: {version.facts} facts, was {version.imported_from}")
