"""Make an API key: `python -m errata_service.new_key NAME SCOPE…` prints the key, and the line for the keys file."""

from __future__ import annotations

import argparse

from errata_registry.api_keys import Scope, new_key


def main() -> None:
    """Read the command line and print a fresh key with its line."""
    parser = argparse.ArgumentParser(prog="errata_service.new_key", description=__doc__)
    parser.add_argument("name", help="who will use the key; one word")
    parser.add_argument("scopes", nargs="+", choices=[scope.value for scope in Scope])
    arguments = parser.parse_args()
    try:
        key, line = new_key(arguments.name, {Scope(scope) for scope in arguments.scopes})
    except ValueError as error:
        parser.error(str(error))
    print(f"key (shown this once): {key}")
    print(f"line for the keys file: {line}")


if __name__ == "__main__":
    main()
