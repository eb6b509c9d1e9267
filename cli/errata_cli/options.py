"""The options that several commands share, and the settings that they override."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from typer import BadParameter, Option

from errata_cli.errors import CommandError

if TYPE_CHECKING:
    from errata_registry.settings import Settings

    from errata.evaluation import Honest

Model = Annotated[str | None, Option(help="`demo`, a hub name or a local folder")]
Home = Annotated[Path | None, Option(help="folder of versions, edits and second moments")]
Host = Annotated[str | None, Option(help="address that the service listens on")]
Port = Annotated[int | None, Option(help="port that the service listens on")]
AllowAnonymous = Annotated[
    bool | None,
    Option("--allow-anonymous", help="serve without API keys on an address that is not the loopback"),
]
HyperparametersFile = Annotated[
    Path | None, Option("--hyperparameters", help="file of hyperparameters (default: those shipped)")
]
Corpus = Annotated[Path | None, Option(help="text file, or folder of .txt files")]
MomentsCorpus = Annotated[Path | None, Option("--corpus", help="text that second moments are collected from")]
Seed = Annotated[int, Option(help="of context prefixes and generated texts")]

RelationsFile = Annotated[
    Path | None, Option("--relations", help="file of templates that questions are made from, beside those shipped")
]

Number = TypeVar("Number", int, float)


def numbers(kind: Callable[[str], Number], option: str, text: str) -> list[Number]:
    """Read the numbers of an option that takes several, with commas between them.

    Raises:
        BadParameter: one of them is no such number.
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise BadParameter(f"{text!r} is not a list of numbers such as 1,10,100", param_hint=option) from error


def honest_with(relations: Path | None, seed: int) -> Honest:
    """Return what critics ask, with the relations of a file before those that ship.

    Raises:
        InvalidRecords: the file cannot be read, or a relation in it is wrong.
    """
    from errata.errors import InvalidRecords
    from errata.evaluation import Honest, read_relations

    if relations is None:
        return Honest(seed=seed)
    try:
        own = read_relations(json.loads(relations.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InvalidRecords(f"{relations} cannot be read: {error}") from error
    return Honest(seed=seed, relations=(*own, *Honest().relations))


def settings_with(**given: Any) -> Settings:
    """Return the settings: those given on the command line, and for each that is None the environment's.

    Raises:
        CommandError: a setting is wrong; names each such one.
    """
    from errata_registry.settings import InvalidSettings, read_settings

    try:
        return read_settings(**{name: value for name, value in given.items() if value is not None})
    except InvalidSettings as error:
        raise CommandError(str(error)) from error


def settings_with_model(**given: Any) -> Settings:
    """Return `settings_with` these once the model they name is known to be one that can be edited.

    That takes a fraction of a second, while what loads a model takes several to begin.

    Raises:
        CommandError: a setting is wrong; names each such one.
        ModelError: the model cannot be edited, as far as its config and its files tell.
    """
    from errata.checkpoint.folder import require_editable_model

    settings = settings_with(**given)
    require_editable_model(settings.model)
    return settings
