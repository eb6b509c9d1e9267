"""`manifest.json` of a version: all that is needed to use it, to explain it and to build it again."""

from datetime import datetime
from typing import Any

from errata_client.records import Gate, LayerChange, Metrics, Problem, Record, VersionStatus
from pydantic import Field

from errata_registry.stored import StoredFile, StoredRecord

FORMAT = 1  # the form of manifests that is written, and the only one that is known


class BaseModelName(Record):
    """The base model that a version was built on."""

    name: str
    digest: str
    dtype: str


class Manifest(StoredRecord):
    """What a version is, how it was built, and what its files must be."""

    format: int = FORMAT
    id: int
    parent: int
    edit: str | None
    by: str | None = None
    imported_from: str | None = None
    method: str
    status: VersionStatus
    base_model: BaseModelName
    hparams: dict[str, Any]
    contexts: tuple[str, ...]
    facts: int
    added: int
    changed: int
    retracted: int
    metrics: Metrics
    not_taken: int | None = None
    gate: Gate | None = None
    problem: Problem | None = None
    layers: tuple[LayerChange, ...]
    libraries: dict[str, str]
    created_at: datetime
    note: str | None = None
    files: dict[str, StoredFile] = Field(default={})
