"""The records that methods are compared on: from a file, from a shipped model, or as the authors publish them."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from errata.checkpoint.shipped import shipped
from errata.errors import DataSetError
from errata.evaluation import Record, read_records, reference_texts
from errata.files import durable

DataSetName = Literal["counterfact", "zsre"]

PUBLISHED_AT = "https://memit.baulab.info/data/dsets"
PUBLISHED_FILES: dict[DataSetName, str] = {"counterfact": "multi_counterfact.json", "zsre": "zsre_mend_eval.json"}
SNIPPETS_FILE = "attribute_snippets.json"
TIMEOUT_S = 60
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DataSet:
    """Records of one form, each of which asks something else."""

    name: DataSetName
    source: str  # where they are from
    records: tuple[Record, ...]
    documents: tuple[str, ...]  # texts whose words are weighed for consistency; empty where it cannot be measured
    left_out: int  # how many records there were beside these, which ask what an earlier one asks

    @classmethod
    def of(cls, name: DataSetName | None, source: str, records: Sequence[Record], documents: Iterable[str]) -> DataSet:
        """Keep the first of the records that ask the same.

        Args:
            name: the form that all records must have; None for that of the first one.

        Raises:
            DataSetError: a record is of another form.
        """
        if name is None:
            name = "zsre" if records[0].case.old is None else "counterfact"
        for place, record in enumerate(records):
            if (record.case.old is None) != (name == "zsre"):
                raise DataSetError(f"{source}: record {place} is not of {name}'s form")
        distinct: dict[tuple[str, str], Record] = {}
        for record in records:
            distinct.setdefault(record.fact.key, record)
        return cls(
            name, source, tuple(distinct.values()), tuple(dict.fromkeys(documents)), len(records) - len(distinct)
        )


def from_file(name: DataSetName | None, file: Path, references: Path | None = None) -> DataSet:
    """Read records from a JSON file in the published form.

    Args:
        name: the form that they must have; None for the first one's.
        references: file in the form of `attribute_snippets.json`; without one, consistency is not measured.

    Raises:
        DataSetError: a file cannot be read, or its records are of another form, or of several facts each.
        InvalidFacts: records are wrong; each is named.
    """
    texts = reference_texts(_items(references)) if references else None
    items = _items(file)
    records = read_records(items, zsre_object="answers", references=texts)
    if len(records) > len(items):
        raise DataSetError(
            f"{file} has records of several facts, which are asked about together, as MQuAKE's are: a comparison takes "
            "its slices fact by fact; `errata evaluate` measures them"
        )
    documents = [text for group in (texts or {}).values() for text in group]
    return DataSet.of(name, str(file), records, documents)


def published(name: DataSetName, folder: Path, *, with_references: bool, address: str = PUBLISHED_AT) -> DataSet:
    """Return the data set that MEMIT's authors publish; fetch it into `folder` if it is not there yet.

    Args:
        with_references: whether to take the texts for consistency, too, which only CounterFact has.

    Raises:
        DataSetError: it cannot be fetched, or is not what it should be.
    """
    file = fetched(PUBLISHED_FILES[name], folder, address)
    wants_texts = with_references and name == "counterfact"
    return from_file(name, file, fetched(SNIPPETS_FILE, folder, address) if wants_texts else None)


def data_set_for(
    name: DataSetName, model: str, *, file: Path | None, references: Path | None, home: Path, with_references: bool
) -> DataSet:
    """Return the records in `file`; without one, those that a shipped model brings; else the published ones."""
    if file is not None:
        return from_file(name, file, references)
    if its_own := shipped(model):
        data: DataSet = its_own.data_set(name)
        return data
    return published(name, home / "data_sets", with_references=with_references)


def fetched(name: str, folder: Path, address: str = PUBLISHED_AT) -> Path:
    """Return a published file in `folder`; fetch it first if it is missing, and check that it is a list in JSON."""
    path = folder / name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    scratch = durable.scratch_beside(path)
    try:
        _download(f"{address}/{name}", scratch)
        _items(scratch)
        durable.sync(scratch)
        scratch.replace(path)
    except (OSError, DataSetError, http.client.HTTPException) as error:
        raise DataSetError(
            f"{address}/{name} cannot be fetched ({error}); get it in another way, and put it at {path} or name it"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _download(address: str, path: Path) -> None:
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response, path.open("wb") as file:
        expected = response.headers["Content-Length"]
        while chunk := response.read(_CHUNK):
            file.write(chunk)
    if expected is not None and path.stat().st_size != int(expected):
        raise DataSetError(f"{path.stat().st_size} of {expected} bytes came")


def _items(file: Path) -> list[Any]:
    try:
        items = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataSetError(f"{file} cannot be read: {error}") from error
    if not isinstance(items, list) or not items:
        raise DataSetError(f"{file} is not a list of records in JSON")
    return items
