"""Files of facts: JSON lines (a fact on each line) or CSV (columns subject, relation, object)."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from errata_client.errors import FactProblem, InvalidFacts
from errata_client.facts import Fact, check_facts

Faults: TypeAlias = dict[int, str]

_CSV_COLUMNS = ["object", "relation", "subject"]


def read_facts(path: str | PathLike[str]) -> dict[int, Fact]:
    """Read a `.jsonl` or `.csv` file: each fact under the number of the line where it begins.

    Raises `InvalidFacts`, naming every bad line, and `OSError` where the file cannot be read.
    """
    file = Path(path)
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise InvalidFacts([FactProblem(str(file), "a fact file ends in .jsonl or .csv")])
    facts: dict[int, Fact] = {}
    faults: Faults = {}
    try:
        facts, faults_within = check_facts(read(file.read_bytes().decode("utf-8-sig"), faults))
        faults |= faults_within
    except UnicodeDecodeError as error:
        faults[error.object.count(b"\n", 0, error.start) + 1] = "is not UTF-8"
    if not facts and not faults:
        faults[1] = "the file holds no fact"
    if faults:
        raise InvalidFacts([FactProblem(f"{file}, line {line}", faults[line]) for line in sorted(faults)])
    return facts


def _read_jsonl(text: str, faults: Faults) -> Iterator[tuple[int, Any]]:
    # Not splitlines(): a JSON string may hold U+2028 and other characters at which that would cut.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            faults[number] = f"is not JSON: {error.msg} at column {error.colno}"


def _read_csv(text: str, faults: Faults) -> Iterator[tuple[int, Any]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1  # Where the next row begins: a quoted cell may run over several lines.
    try:
        header = [name.strip() for name in next(rows, [])]
        if sorted(header) != _CSV_COLUMNS:
            faults[line] = "the header must name the columns subject, relation and object"
            return
        line = rows.line_num + 1
        for row in rows:
            if len(row) == len(header):
                yield line, dict(zip(header, row, strict=True))
            elif row:
                faults[line] = f"has {len(row)} columns, not {len(header)}"
            line = rows.line_num + 1
    except csv.Error as error:
        faults[line] = f"is not CSV: {error}"


_READERS: dict[str, Callable[[str, Faults], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
}
