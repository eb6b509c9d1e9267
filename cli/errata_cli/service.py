"""`errata service`: the service alone."""

from __future__ import annotations

from errata_cli.options import AllowAnonymous, Home, Host, Model, Port, settings_with
from errata_cli.processes import become


def service(
    model: Model = None, home: Home = None, host: Host = None, port: Port = None, allow_anonymous: AllowAnonymous = None
) -> None:
    """Run the service alone."""
    become(
        "errata_service",
        settings_with(model=model, home=home, host=host, port=port, allow_anonymous=allow_anonymous),
    )
