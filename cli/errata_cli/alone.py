"""`errata service`, `errata worker`, `errata follow` and `errata statistics`: one process alone."""

from enum import StrEnum
from typing import Annotated

from typer import Option

from errata_cli.options import AllowAnonymous, Corpus, Home, Host, Model, Port, settings_with, settings_with_model
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


class FollowedEngine(StrEnum):
    """Engines of others whose servers can follow."""

    VLLM = "vllm"


def follow(
    engine: Annotated[FollowedEngine, Option(help="what the server runs")] = FollowedEngine.VLLM,
    url: Annotated[str | None, Option(help="the server, such as http://127.0.0.1:8001")] = None,
    home: Home = None,
    host: Annotated[str | None, Option(help="address of /healthz and /readyz of the follower")] = None,
    port: Annotated[int | None, Option(help="port of /healthz and /readyz of the follower")] = None,
) -> None:
    """Keep a running vLLM server at the active version."""
    become(f"errata_service.{engine}", settings_with(follow_url=url, home=home, host=host, port=port))


def statistics(model: Model = None, home: Home = None, corpus: Corpus = None) -> None:
    """Collect the second moments of a base model, which edits need."""
    become("errata_worker.statistics", settings_with_model(model=model, home=home, corpus=corpus))
