"""`errata statistics`: the second moments of a base model, ahead of its first edit."""

from __future__ import annotations

from errata_cli.options import Corpus, Home, Model, settings_with
from errata_cli.processes import become


def statistics(model: Model = None, home: Home = None, corpus: Corpus = None) -> None:
    """Collect the second moments of a base model, which edits need."""
    become("errata_worker.statistics", settings_with(model=model, home=home, corpus=corpus))
