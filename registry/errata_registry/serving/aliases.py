"""Aliases: names that stand for a version, such as `production`. What has a name is never dropped."""

import json
from pathlib import Path

from errata.errors import CorruptArtifact, UnknownAlias
from errata.files import durable
from errata.files.checksums import checked, with_checksum

MOST_LISTED = 10


class Aliases:
    """The file of aliases. Whoever changes it holds the journal's lock."""

    def __init__(self, home: Path) -> None:
        self._path = home / "aliases.json"

    def all(self) -> dict[str, int]:
        """Return the version that each name stands for, by name. Raises `CorruptArtifact`."""
        if not self._path.exists():
            return {}
        try:
            aliases = json.loads(checked(self._path.read_bytes()))
            return {str(name): int(number) for name, number in sorted(aliases.items())}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise CorruptArtifact(
                f"the file of aliases {self._path} cannot be read, and has to be put back from a copy: {error}"
            ) from error

    def version(self, name: str) -> int:
        """Return the version that a name stands for. Raises `UnknownAlias`."""
        aliases = self.all()
        if name not in aliases:
            listed = ", ".join([*aliases][:MOST_LISTED]) + (", …" if len(aliases) > MOST_LISTED else "")
            raise UnknownAlias(f"no version is called {name[:100]!r}; the names are: {listed or 'none yet'}")
        return aliases[name]

    def names(self, number: int) -> tuple[str, ...]:
        """Return the names of a version."""
        return tuple(name for name, named in self.all().items() if named == number)

    def put(self, name: str, number: int) -> None:
        """Let a name stand for a version, whatever it stood for before."""
        self._write({**self.all(), name: number})

    def remove(self, name: str) -> None:
        """Take a name away. Raises `UnknownAlias`."""
        self.version(name)
        self._write({other: number for other, number in self.all().items() if other != name})

    def _write(self, aliases: dict[str, int]) -> None:
        durable.write(self._path, with_checksum(json.dumps(aliases, indent=1, sort_keys=True)))
