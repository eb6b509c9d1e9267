"""Files of facts: JSON lines (a record on each line), JSON (an array of records) or CSV (subject, relation, object).

Probes come in files of the first two kinds. `-` stands for stdin, in any of the forms.
"""

import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from errata_client.dataset_formats import fact_of_record
from errata_client.errors import FactProblem, InvalidFacts
from errata_client.facts import Fact, check_each, to_probe
from errata_client.records import Probe


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fact stands in its file: the number of its line, or of its record in an array (from 0)."""

    number: int
    name: str

    def __str__(self) -> str:
        return self.name


Faults: TypeAlias = dict[Place, str]
Reader: TypeAlias = Callable[[str, Faults], Iterator[tuple[Place, Any]]]
Made = TypeVar("Made")

STDIN = "-"
_CSV_COLUMNS = ["object", "relation", "subject"]


def read_facts(path: str | PathLike[str]) -> dict[int, Fact]:
    """Read a `.jsonl`, `.json` or `.csv` file.

    Each fact is under the number of the line where it begins, or in `.json` under that of its record, from 0.
    Raises `InvalidFacts`, naming every bad line or record, and `OSError` where the file cannot be read.
    """
    return {place.number: fact for place, fact in read_placed_facts(path).items()}


def read_placed_facts(path: str | PathLike[str]) -> dict[Place, Fact]:
    """Read a file as `read_facts` does, each fact under the place that a person finds it by."""
    facts = _read(path, _READERS, fact_of_record)
    if not facts:
        raise InvalidFacts([FactProblem(f"{_name_of(path)}, {_line(1)}", "the file holds no fact")])
    return facts


def read_fact_records(path: str | PathLike[str]) -> dict[Place, Any]:
    """Read a file of facts as `read_facts` does, but each record as it is: whether it is a fact is not looked at."""
    records = _read(path, _READERS, lambda record: record)
    if not records:
        raise InvalidFacts([FactProblem(f"{_name_of(path)}, {_line(1)}", "the file holds no fact")])
    return records


def read_placed_records(path: str | PathLike[str]) -> dict[Place, Any]:
    """Read the records of a `.jsonl` or `.json` file as they are, each under its place. Raises as `read_facts`."""
    records = _read(path, _WITHOUT_COLUMNS, lambda record: record)
    if not records:
        raise InvalidFacts([FactProblem(f"{_name_of(path)}, {_line(1)}", "the file holds no record")])
    return records


def read_probes(path: str | PathLike[str]) -> list[Probe]:
    """Read a `.jsonl` or `.json` file of probes, each with `prompt` and `answer`; it may hold none.

    Raises `InvalidFacts`, naming every bad line or record, and `OSError` where the file cannot be read.
    """
    return list(_read(path, _WITHOUT_COLUMNS, to_probe).values())


def _read(path: str | PathLike[str], readers: Mapping[str, Reader], make: Callable[[Any], Made]) -> dict[Place, Made]:
    """Return what is made of each record of a file. Raises `InvalidFacts`, naming every bad one."""
    file, is_stdin = _name_of(path), str(path) == STDIN
    read = readers.get(Path(path).suffix.lower())
    if read is None and not is_stdin:
        *all_but_last, last = readers
        raise InvalidFacts([FactProblem(file, f"the file's name must end in {', '.join(all_but_last)} or {last}")])
    made: dict[Place, Made] = {}
    faults: Faults = {}
    try:
        text = (sys.stdin.buffer.read() if is_stdin else Path(path).read_bytes()).decode("utf-8-sig")
        made, faults_within = check_each((read or readers[_form_of(text, readers)])(text, faults), make)
        faults |= faults_within
    except UnicodeDecodeError as error:
        faults[_line(error.object.count(b"\n", 0, error.start) + 1)] = "is not UTF-8"
    if faults:
        in_order = sorted(faults, key=lambda place: place.number)
        raise InvalidFacts([FactProblem(f"{file}, {place}", faults[place]) for place in in_order])
    return made


def _name_of(path: str | PathLike[str]) -> str:
    return "stdin" if str(path) == STDIN else str(path)


def _form_of(text: str, readers: Mapping[str, Reader]) -> str:
    """Tell the form of a text that has no name: by its first characters, and whether it is an array of records."""
    begins_with = text.lstrip()[:1]
    if begins_with not in ("{", "[") and ".csv" in readers:
        return ".csv"
    if begins_with != "[":
        return ".jsonl"
    try:
        records = json.loads(text)
    except json.JSONDecodeError:
        return ".jsonl"
    return ".jsonl" if records and isinstance(records[0], str) else ".json"  # a line may be ["s", "r", "o"]


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
    """Yield the place of each record of an array, whose text is known to be JSON."""
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


_WITHOUT_COLUMNS: dict[str, Reader] = {".jsonl": _read_jsonl, ".json": _read_json}
_READERS: dict[str, Reader] = {**_WITHOUT_COLUMNS, ".csv": _read_csv}
