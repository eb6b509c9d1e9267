"""Aliases: names that stand for a version, such as `production`. What has a name is never dropped."""

import json
from pathlib import Path
from typing import Any

from errata_client.records import Alias, Protection

from errata.errors import CorruptArtifact, ProtectedAlias, UnknownAlias
from errata.files.checksums import checked, with_checksum
from errata_registry.commits import FOLDER, Commits

MOST_LISTED = 10


class Aliases:
    """The file of aliases. Whoever changes it holds the journal's lock.

    It has the version of each name, and for a protected name a version and its protection.
    """

    def __init__(self, home: Path, commits: Commits = FOLDER) -> None:
        self._commits = commits
        self._path = home / "aliases.json"

    def records(self) -> dict[str, Alias]:
        """Return all aliases by name. Raises `CorruptArtifact`."""
        if not self._path.exists():
            return {}
        try:
            aliases = json.loads(checked(self._path.read_bytes()))
            return {name: _read(name, stored) for name, stored in sorted(aliases.items())}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise CorruptArtifact(
                f"the file of aliases {self._path} cannot be read, and has to be put back from a copy: {error}"
            ) from error

    def all(self) -> dict[str, int]:
        """Return the version that each name stands for, by name. Raises `CorruptArtifact`."""
        return {name: alias.version for name, alias in self.records().items()}

    def get(self, name: str) -> Alias:
        """Return one alias. Raises `UnknownAlias`."""
        aliases = self.records()
        if name not in aliases:
            listed = ", ".join([*aliases][:MOST_LISTED]) + (", …" if len(aliases) > MOST_LISTED else "")
            raise UnknownAlias(f"no version is called {name[:100]!r}; the names are: {listed or 'none yet'}")
        return aliases[name]

    def of(self, number: int) -> tuple[Alias, ...]:
        """Return the aliases of a version."""
        return tuple(alias for alias in self.records().values() if alias.version == number)

    def put(self, name: str, number: int) -> None:
        """Let a name stand for a version, whatever it stood for before.

        Raises `ProtectedAlias` where it is protected and stands for another one.
        """
        aliases = self.records()
        alias = aliases.get(name)
        if alias is None or alias.version != number:
            require_unprotected(*filter(None, [alias]))
            alias = Alias(name=name, version=number)
        self._write({**aliases, name: alias})

    def remove(self, name: str) -> None:
        """Take a name away. Raises `UnknownAlias`, `ProtectedAlias`."""
        require_unprotected(self.get(name))
        self._write({other: alias for other, alias in self.records().items() if other != name})

    def protect(self, name: str, protection: Protection | None) -> Alias:
        """Protect a name, or, with None, no longer; return it. Raises `UnknownAlias`."""
        alias = self.get(name).model_copy(update={"protection": protection})
        self._write({**self.records(), name: alias})
        return alias

    def _write(self, aliases: dict[str, Alias]) -> None:
        stored = {name: _stored(alias) for name, alias in aliases.items()}
        self._commits.write(self._path, with_checksum(json.dumps(stored, indent=1, sort_keys=True)))


def require_unprotected(*aliases: Alias) -> None:
    """Raise `ProtectedAlias`, which names the first that is protected, where one is."""
    for alias in aliases:
        if protection := alias.protection:
            by = f" by {protection.who}" if protection.who else ""
            why = f" ({protection.note})" if protection.note else ""
            raise ProtectedAlias(
                f"the name {alias.name} of version {alias.version} is protected{by}{why}; unprotect it first"
            )


def _read(name: str, stored: Any) -> Alias:
    return Alias.model_validate({"name": name, **(stored if isinstance(stored, dict) else {"version": int(stored)})})


def _stored(alias: Alias) -> Any:
    """Return what the file has of an alias: its number alone, which older programs read, unless it is protected."""
    return alias.model_dump(mode="json", exclude={"name"}) if alias.protection else alias.version
