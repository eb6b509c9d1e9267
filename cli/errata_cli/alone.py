"""`errata service`, `errata worker` and `errata statistics`: one process alone."""

from errata_cli.options import AllowAnonymous, Corpus, Home, Host, Model, Port, settings_with_model
from errata_cli.processes import become


def service(
    model: Model = None, home: Home = None, host: Host = None, port: Port = None, allow_anonymous: AllowAnonymous = None
) -> None:
    """Run the service alone."""
    settings = settings_with_model(model=model, home=home, host=host, port=port, allow_anonymous=allow_anonymous)
    become("errata_service", settings)


def worker(model: Model = None, home: Home = None) -> None:
    """Run one worker alone."""
    become("errata_worker", settings_with_model(model=model, home=home))


def statistics(model: Model = None, home: Home = None, corpus: Corpus = None) -> None:
    """Collect the second moments of a base model, which edits need."""
    become("errata_worker.statistics", settings_with_model(model=model, home=home, corpus=corpus))
