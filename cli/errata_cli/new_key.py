"""`errata new-key`: an API key for the service."""

from typing import Annotated

from errata_registry import api_keys
from errata_registry.api_keys import Scope
from typer import Argument, BadParameter


def new_key(
    name: Annotated[str, Argument(help="who will use the key; one word")],
    scopes: Annotated[
        list[Scope], Argument(help="what the key allows: to generate and look, to queue edits, to change what serves")
    ],
) -> None:
    """Make an API key, and its line for the keys file."""
    try:
        key, line = api_keys.new_key(name, set(scopes))
    except ValueError as error:
        raise BadParameter(str(error)) from error
    print(f"key (shown this once): {key}")
    print(f"line for the keys file: {line}")
