"""Files of facts: JSON lines (a record on each line), JSON (an array of records) or CSV (subject, relation, object)."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from errata_client.errors import FactProblem, InvalidFacts
from errata_client.facts import Fact, check_facts
from errata_client.record_forms import fact_of_record


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fact stands in its file: the number of its line, or of its record in an array (from 0)."""

    number: int
    name: str

    def __str__(self) -> str:
        return self.name


Faults: TypeAlias = dict[Place, str]
T = TypeVar("T")

_CSV_COLUMNS = ["object", "relation", "subject"]


def read_facts(path: str | PathLike[str]) -> dict[int, Fact]:
    """Read a `.jsonl`, `.json` or `.csv` file.

    Each fact is under the number of the line where it begins, or in `.json` under that of its record, from 0.
    Raises `InvalidFacts`, naming every bad line or record, and `OSError` where the file cannot be read.
    """
    return {place.number: fact for place, fact in read_placed_facts(path).items()}


def read_placed_facts(path: str | PathLike[str]) -> dict[Place, Fact]:
    """As `read_facts`, each fact under the place that a person finds it by."""
    file = Path(path)
    if file.suffix.lower() not in _READERS:
        raise InvalidFacts([FactProblem(str(file), "a fact file ends in .jsonl, .json or .csv")])
    return _read(file, "fact", lambda placed: check_facts(placed, fact_of_record))


def read_placed_records(path: str | PathLike[str]) -> dict[Place, Any]:
    """The records of a `.jsonl` or `.json` file as they are, each under its place. Raises as `read_facts`."""
    file = Path(path)
    if file.suffix.lower() not in (".jsonl", ".json"):
        raise InvalidFacts([FactProblem(str(file), "a file of records ends in .jsonl or .json")])
    return _read(file, "record", lambda placed: (dict(placed), {}))


def _read(
    file: Path, called: str, check: Callable[[Iterator[tuple[Place, Any]]], tuple[dict[Place, T], Faults]]
) -> dict[Place, T]:
    read = _READERS[file.suffix.lower()]
    found: dict[Place, T] = {}
    faults: Faults = {}
    try:
        found, faults_within = check(read(file.read_bytes().decode("utf-8-sig"), faults))
        faults |= faults_within
    except UnicodeDecodeError as error:
        faults[_line(error.object.count(b"\n", 0, error.start) + 1)] = "is not UTF-8"
    if not found and not faults:
        faults[_line(1)] = f"the file holds no {called}"
    if faults:
        in_order = sorted(faults, key=lambda place: place.number)
        raise InvalidFacts([FactProblem(f"{file}, {place}", faults[place]) for place in in_order])
    return found


def _line(number: int) -> Place:
    return Place(number, f"line {number}")


def _read_jsonl(text: str, faults: Faults) -> Iterator[tuple[Place, Any]]:
    # Not splitlines(): a JSON string may hold U+2028 and other characters at which that would cut.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _line(number), json.loads(line)
        except json.JSONDecodeError as error:
            faults[_line(number)] = f"is not JSON: {error.msg} at column {error.colno}"


def _read_json(text: str, faults: Faults) -> Iterator[tuple[Place, Any]]:
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        faults[_line(error.lineno)] = f"is not JSON: {error.msg} at column {error.colno}"
        return
    if not isinstance(records, list):
        faults[_line(1)] = "the file holds no array of records"
        return
    yield from zip(_places_in_array(text), records, strict=True)


def _places_in_array(text: str) -> Iterator[Place]:
    """Where each record of an array stands, whose text is known to be JSON."""
    decoder = json.JSONDecoder()
    begin = text.index("[") + 1
    line, counted = 1, 0
    for number in itertools.count():
        while text[begin] in " \t\r\n,":
            begin += 1
        if text[begin] == "]":
            return
        line += text.count("\n", counted, begin)
        counted = begin
        yield Place(number, f"record {number} (line {line})")
        _, begin = decoder.raw_decode(text, begin)


def _read_csv(text: str, faults: Faults) -> Iterator[tuple[Place, Any]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1  # Where the next row begins: a quoted cell may run over several lines.
    try:
        header = [name.strip() for name in next(rows, [])]
        if sorted(header) != _CSV_COLUMNS:
            faults[_line(line)] = "the header must name the columns subject, relation and object"
            return
        line = rows.line_num + 1
        for row in rows:
            if len(row) == len(header):
                yield _line(line), dict(zip(header, row, strict=True))
            elif row:
                faults[_line(line)] = f"has {len(row)} columns, not {len(header)}"
            line = rows.line_num + 1
    except csv.Error as error:
        faults[_line(line)] = f"is not CSV: {error}"


_READERS: dict[str, Callable[[str, Faults], Iterator[tuple[Place, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
}
