"""Where the service is and the key for it: from flags, the environment, or a profile of the configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_PROFILE = "default"
KEYS = ("url", "key")


class BadConfiguration(ValueError):
    """The configuration file cannot be used; says where and why."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service to speak with; without a URL, the one that `errata up` starts. `note` is to be told to the user."""

    url: str | None
    api_key: str | None
    note: str | None = None


def service_of(url: str | None, api_key: str | None, profile: str | None, environment: Mapping[str, str]) -> Service:
    """Return the service that flags (`url`, `api_key`, `profile`), environment and configuration file name together.

    Flags come before the environment, and that before the profile. A profile's key goes to that profile's URL only. An
    empty variable is one that was not set. Raises `BadConfiguration`.
    """
    there = {name: value for name, value in environment.items() if value}
    told = _profile(profile or there.get("ERRATA_PROFILE"), there)
    found_url = url or there.get("ERRATA_URL") or told.get("url")
    key = api_key or there.get("ERRATA_API_KEY")
    if key is None and found_url == told.get("url"):
        key = told.get("key")
    note = None
    if profile and not url and found_url != told.get("url"):
        note = f"ERRATA_URL, {found_url}, goes before the URL of the profile {profile}"
    return Service(found_url, key, note)


def configuration_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the configuration file, whether it is there or not."""
    if named := environment.get("ERRATA_CLIENT_CONFIG"):
        return Path(named)
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "errata" / "client.toml"


def _profile(name: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return a profile; where none is named, the default one, or nothing."""
    file = configuration_file(environment)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if name is None and "ERRATA_CLIENT_CONFIG" not in environment:
            return {}
        raise BadConfiguration(f"{file} is not there" + (f", nor is the profile {name!r}" if name else "")) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file} cannot be read: {error}") from None
    profiles = _profiles_in(file, text)
    if name is not None and name not in profiles:
        raise BadConfiguration(f"{file} has no profile {name!r}; it has {', '.join(profiles) or 'none'}")
    return profiles.get(name or DEFAULT_PROFILE, {})


def _profiles_in(file: Path, text: str) -> dict[str, dict[str, str]]:
    import tomllib  # not for those who have no such file

    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{file} is not TOML: {error}") from None
    profiles = told.pop("profiles", {})
    for key in told:
        raise BadConfiguration(f"{_place(file, text, key)}: unknown key {key!r}; profiles begin with [profiles.NAME]")
    if not isinstance(profiles, dict):
        raise BadConfiguration(f"{_place(file, text, 'profiles')}: profiles begin with [profiles.NAME]")
    for name, profile in profiles.items():
        _check(file, text, name, profile)
    return profiles


def _check(file: Path, text: str, name: str, profile: Any) -> None:
    if not isinstance(profile, dict):
        raise BadConfiguration(f"{_place(file, text, name)}: {name!r} is no profile: they begin with [profiles.NAME]")
    for key, value in profile.items():
        where = f"{_place(file, text, key, within=name)}: profiles.{name}.{key}"
        if key not in KEYS:
            raise BadConfiguration(f"{where} is not known; a profile has {' and '.join(KEYS)}")
        if not isinstance(value, str):
            raise BadConfiguration(f"{where} is no text")


def _place(file: Path, text: str, key: str, within: str | None = None) -> str:
    """Return where a key stands: TOML's reader tells no lines."""
    inside = within is None
    for number, line in enumerate(text.splitlines(), start=1):
        if within is not None and line.strip().startswith("["):
            inside = (
                re.fullmatch(rf"""\[\s*profiles\s*\.\s*["']?{re.escape(within)}["']?\s*\].*""", line.strip())
                is not None
            )
        if inside and re.match(rf"""[\s\[]*["']?{re.escape(key)}\b""", line):
            return f"{file}, line {number}"
    return str(file)
