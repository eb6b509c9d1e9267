"""`base.json`: the base model that a home folder belongs to, from the first start on."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from errata.errors import CorruptArtifact, UnknownVersion, WrongBaseModel
from errata.files import durable
from errata_registry.records import now

BASE = "base.json"


class BoundBase(BaseModel):
    """The base model, and an id of the home folder itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    digest: str
    home: str
    bound_at: datetime

    @classmethod
    def of(cls, home: Path) -> BoundBase:
        """The base model of a home folder. Raises `UnknownVersion` while there is none, `CorruptArtifact`."""
        if not is_bound(home):
            raise UnknownVersion(f"{home} does not belong to a base model yet; a service or worker binds it")
        try:
            return cls.model_validate_json((home / BASE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"{home / BASE} cannot be read: {error}") from error


def is_bound(home: Path) -> bool:
    """Whether the home folder belongs to a base model yet."""
    return (home / BASE).exists()


def bind(home: Path, name: str, digest: str) -> None:
    """Tie a home folder to its base model at the first start.

    Raises:
        WrongBaseModel: it belongs to a model with another digest.
        CorruptArtifact: what it belongs to cannot be read.
    """
    bound = BoundBase(name=name, digest=digest, home=secrets.token_hex(8), bound_at=now())
    if durable.write_once(home / BASE, bound.model_dump_json(indent=1) + "\n"):
        return
    bound = BoundBase.of(home)
    if bound.digest != digest:
        raise WrongBaseModel(
            f"{home} holds edits of {bound.name} ({bound.digest[:12]}), and {name} ({digest[:12]}) has "
            "other weights: give it a home folder of its own (--home or ERRATA_HOME)"
        )
