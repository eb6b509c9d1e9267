"""`errata worker`: one worker alone."""

from __future__ import annotations

from errata_cli.options import Home, Model, settings_with
from errata_cli.processes import become


def worker(model: Model = None, home: Home = None) -> None:
    """Run one worker alone."""
    become("errata_worker", settings_with(model=model, home=home))
