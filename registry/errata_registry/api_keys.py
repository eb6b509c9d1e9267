"""API keys with scopes, and the file that a service reads them from.

A keys file holds one key a line, `name scope,scope sha256-of-the-key-in-hex`; empty lines and lines that begin
with `#` are skipped. The keys themselves are 256 random bits, which need no slow hash. A service without a keys file
listens to its own machine alone, unless it is told otherwise.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errata_registry.settings import Settings


class Scope(StrEnum):
    """What a key allows: to generate and look, to queue edits, to change what serves."""

    READ = "read"
    EDIT = "edit"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the service knows it: by name, without the key itself."""

    name: str
    scopes: frozenset[Scope]


class KeysFileError(Exception):
    """The keys file cannot be read, or a line of it is malformed."""


def new_key(name: str, scopes: Collection[Scope]) -> tuple[str, str]:
    """Make a key. Return the key, to be shown once, and its line for the keys file.

    Raises `ValueError` where the name is empty or holds white space, or there is no scope.
    """
    if not name or name.split() != [name] or name.startswith("#"):
        raise ValueError("a key's name is one word that does not begin with #")
    if not scopes:
        raise ValueError(f"a key needs at least one scope of {', '.join(Scope)}")
    key = f"errata_{secrets.token_urlsafe(32)}"
    return key, f"{name} {','.join(sorted(scopes))} {hash_of(key)}"


def read_keys(path: Path) -> dict[str, ApiKey]:
    """Read the keys of a file, by their hash. Raises `KeysFileError`, which names the line at fault."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"the keys file cannot be read: {error}") from error
    keys = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, scopes, digest = line.split()
            if len(bytes.fromhex(digest)) != hashlib.sha256().digest_size:
                raise ValueError("the hash is not a SHA-256 in hex")
            keys[digest.lower()] = ApiKey(name, frozenset(Scope(scope) for scope in scopes.split(",")))
        except ValueError as error:
            raise KeysFileError(f"{path}, line {number}, is not `name scope,scope sha256`: {error}") from error
    if not keys:
        raise KeysFileError(f"{path} holds no key")
    return keys


def hash_of(key: str) -> str:
    """Return the SHA-256 of a key in hex, as the keys file and `read_keys` have it."""
    return hashlib.sha256(key.encode()).hexdigest()


class OpenToOthers(Exception):
    """The service would listen to other machines without asking for keys."""


def refuse_open_address(settings: Settings) -> None:
    """Raise `OpenToOthers` when the service would serve other machines without keys and was not told to."""
    if settings.keys_file is not None or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise OpenToOthers(
        f"refusing to listen on {settings.host} without API keys: whoever reaches that address could edit the model. "
        "Name a keys file (ERRATA_KEYS_FILE), listen on 127.0.0.1, or allow it in words (ERRATA_ALLOW_ANONYMOUS=true, "
        "`--allow-anonymous`)"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
