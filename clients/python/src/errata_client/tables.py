"""Aligned plain text: tables with a header, and lists of names with their values."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime

GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a line for the header and one for each row; columns of numbers are aligned to the right."""
    cells = [list(header), *([cell(value) for value in row] for row in rows)]
    widths = [max(_width(line[column]) for line in cells) for column in range(len(header))]
    to_right = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(header))
    ]
    columns = list(zip(widths, to_right, strict=True))
    lines = [
        GAP.join(_pad(text, width, right) for text, (width, right) in zip(line, columns, strict=True)) for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def pairs(values: Mapping[str, object]) -> str:
    """Return a line for each name and its value."""
    width = max(_width(name) for name in values)
    return "\n".join(f"{_pad(name, width, False)}{GAP}{cell(value)}" for name, value in values.items())


def cell(value: object) -> str:
    """Return a value on one line: "-" for none, three decimals for fractions, escapes for control characters."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return escaped(str(value))


def escaped(text: str, but: str = "") -> str:
    """Replace control characters `but` these by escapes: text from the service must not move a terminal's cursor."""
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal: wide East Asian characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
