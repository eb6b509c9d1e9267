"""What is kept of each edit in the home folder: its request, written before it is accepted, and its outcome."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from errata.errors import CorruptArtifact, UnknownEdit
from errata.files import durable
from errata_registry.records import Edit, EditRequest, FactOutcome, RebuildRequest, RetryRequest

EDIT_ID = re.compile(r"edit_[0-9a-f]{24}")
FACT_OUTCOMES = "facts.jsonl"

Record = TypeVar("Record", bound=BaseModel)


class AcceptedRequest(BaseModel):
    """`request.json`: the request, who sent it and when, and how a repetition of it is known again.

    `foreseen` is what it would have done to the facts when it came, as an `Edit` shows it. With `refuse_conflicts`, it
    must not change facts that are there. `retries`: the edit whose facts that did not take it tries again.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    id: str
    created_at: datetime
    by: str | None = None
    idempotency_key: str | None = None
    body_sha256: str
    refuse_conflicts: bool = False
    retries: str | None = None
    foreseen: dict[str, Any] = {}
    request: EditRequest | RebuildRequest

    def queued_edit(self) -> Edit:
        """The record that the edit begins with."""
        record: dict[str, Any] = {"id": self.id, "by": self.by, "created_at": self.created_at, "retries": self.retries}
        match self.request:
            case RebuildRequest(rebuild=number):
                record |= {"facts": 0, "rebuild": True, "version": number}
            case EditRequest() as request:
                record |= {
                    "facts": len(request.facts),
                    **request.model_dump(include=set(Edit.model_fields) - {"facts"}),
                }
        return Edit.model_validate(record | self.foreseen)


def body_sha256(request: EditRequest | RebuildRequest | RetryRequest, *said: object) -> str:
    """What two requests share that ask for the same, by what is given in them and what is `said` beside that."""
    asked = request.model_dump_json(exclude_unset=True) + json.dumps(said)
    return hashlib.sha256(asked.encode()).hexdigest()


def edit_folder(folder: Path, edit_id: str) -> Path:
    """Where the files of an edit lie, in the folder of edits. Raises `UnknownEdit` for what is no edit's id."""
    if not EDIT_ID.fullmatch(edit_id):
        raise UnknownEdit(f"there is no edit {edit_id!r}")
    return folder / edit_id


class EditFiles:
    """The folder of edits: `edit_<id>/request.json`, `edit_<id>/facts.jsonl` once its version was measured, and once it
    has ended `edit_<id>/outcome.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def ids(self) -> list[str]:
        """All edits, oldest first."""
        names = (path.parent.name for path in self._folder.glob("edit_*/request.json"))
        return sorted(name for name in names if EDIT_ID.fullmatch(name))

    def accept(self, accepted: AcceptedRequest) -> None:
        """Keep a request; it is on the disk when this returns."""
        folder = edit_folder(self._folder, accepted.id)
        folder.mkdir()
        durable.write(folder / "request.json", accepted.model_dump_json(indent=1))
        durable.sync(self._folder)

    def withdraw(self, edit_id: str) -> None:
        """Forget a request that was never acknowledged."""
        shutil.rmtree(edit_folder(self._folder, edit_id))

    def accepted(self, edit_id: str) -> AcceptedRequest:
        """Raises `UnknownEdit`, `CorruptArtifact`."""
        path = edit_folder(self._folder, edit_id) / "request.json"
        if not path.exists():
            raise UnknownEdit(f"there is no edit {edit_id!r}")
        return _read(path, AcceptedRequest)

    def finish(self, edit: Edit) -> Edit:
        """Keep how an edit ended. What ended stays as it ended: the outcome that counts is returned."""
        written = durable.write_once(
            edit_folder(self._folder, edit.id) / "outcome.json", edit.model_dump_json(indent=1)
        )
        if written:
            return edit
        outcome = self.outcome(edit.id)
        assert outcome is not None
        return outcome

    def keep_fact_outcomes(self, edit_id: str, outcomes: Iterable[FactOutcome]) -> None:
        """Keep how the facts of its version took, in place of those of an earlier attempt."""
        lines = "".join(outcome.model_dump_json() + "\n" for outcome in outcomes)
        durable.write(edit_folder(self._folder, edit_id) / FACT_OUTCOMES, lines)

    def fact_outcomes(self, edit_id: str) -> tuple[FactOutcome, ...] | None:
        """How the facts of its version took; None where none was measured. Raises `UnknownEdit`, `CorruptArtifact`."""
        path = edit_folder(self._folder, edit_id) / FACT_OUTCOMES
        try:
            with path.open(encoding="utf-8") as lines:
                return tuple(FactOutcome.model_validate_json(line) for line in lines)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"{edit_id}: {FACT_OUTCOMES} cannot be read: {error}") from error

    def outcome(self, edit_id: str) -> Edit | None:
        """How an edit ended, or None while it has not. Raises `UnknownEdit`, `CorruptArtifact`."""
        path = edit_folder(self._folder, edit_id) / "outcome.json"
        return _read(path, Edit) if path.exists() else None


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptArtifact(f"{path.parent.name}: {path.name} cannot be read: {error}") from error
