"""`errata verify`: whether a home folder is as it should be."""

from __future__ import annotations

import typer

from errata_cli.options import Home, Model, settings_with


def verify(model: Model = None, home: Home = None) -> None:
    """Check every version, edit and activation of a home folder.

    Exits with 1 where something is not as it should be.
    """
    settings = settings_with(model=model, home=home)

    from errata_registry.verification import verify

    verified = verify(settings.home)
    print(verified)
    raise typer.Exit(1 if verified.faults else 0)
