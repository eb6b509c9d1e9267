"""Text that is laid out: tables with a header, and lists of names with their values. Plain, or for a terminal."""

import os
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TextIO

GAP = "  "
LONGEST_WORD = 16  # that a column of free text is wide enough for
NARROWEST = 10  # columns of free text, whose words are cut then
MOST_LINES = 3  # of a cell
BOLD = "1"
COLOURS = {"active": "32", "succeeded": "32", "running": "33", "queued": "33", "rejected": "31", "failed": "31"}


class Free(str):
    """The heading of a column of free text, which is folded where the terminal is narrow."""


class Extra(str):
    """The heading of a column that is left out where the terminal is narrow."""


@dataclass(frozen=True, slots=True)
class Look:
    """Where text is shown: a terminal of `width` columns, or where lines may be as long as they are."""

    width: int | None = None
    has_colours: bool = False


PLAIN = Look()


def look_of(stream: TextIO) -> Look:
    """Return how text is shown on a stream: plain, unless that is a terminal. `NO_COLOR` is respected."""
    if not stream.isatty():
        return PLAIN
    has_colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Look(shutil.get_terminal_size().columns, has_colours)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], look: Look = PLAIN) -> str:
    """Return a line for the header and one for each row; columns of numbers are aligned to the right.

    On a terminal that is too narrow, columns of `Free` text are folded and `Extra` ones left out, then words cut; where
    that is not enough, each row becomes a list of names with their values.
    """
    columns = [_Column.of(title, [row[place] for row in rows]) for place, title in enumerate(header)]
    left_out: list[str] = []
    if look.width is not None:
        while _least(columns) > look.width and (extra := _last_extra(columns)):
            columns.remove(extra)
            left_out.insert(0, extra.title)
        if _least(columns) > look.width:
            columns = [replace(column, longest_word=NARROWEST) for column in columns]
        if _least(columns) > look.width:
            return "\n\n".join(pairs(dict(zip(header, row, strict=True)), look) for row in rows)
    widths = _widths(columns, look.width)
    lines = _lines([column.title for column in columns], columns, widths, PLAIN)
    if look.has_colours:
        lines = [_painted(line, BOLD) for line in lines]
    for place in range(len(rows)):
        lines += _lines([column.cells[place] for column in columns], columns, widths, look)
    if left_out:
        lines.append(f"(no room for: {', '.join(left_out)})")
    return "\n".join(lines)


def pairs(values: Mapping[str, object], look: Look = PLAIN) -> str:
    """Return a line for each name and its value; on a terminal, long values are folded."""
    width = max(_width(name) for name in values)
    lines = []
    for name, value in values.items():
        text = cell(value)
        room = None if look.width is None else max(LONGEST_WORD, look.width - width - len(GAP))
        first, *others = [text] if room is None else folded(text, room)
        if name == "status":
            first = _painted_status(first, look)
        lines.append(f"{_pad(name, width, False)}{GAP}{first}")
        lines += [" " * (width + len(GAP)) + other for other in others]
    return "\n".join(lines)


def folded(text: str, width: int, most_lines: int | None = None) -> list[str]:
    """Break a text at its spaces into lines of that many columns. A word that is longer is cut, as is the last line."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [cut(line, width) for line in lines]
    if most_lines is not None and len(lines) > most_lines:
        return [*lines[: most_lines - 1], _with_ellipsis(lines[most_lines - 1], width)]
    return lines


def cut(text: str, width: int) -> str:
    """Return as much of a text as fits into that many columns, with an ellipsis where something is missing."""
    return text if _width(text) <= width else _with_ellipsis(text, width)


def _with_ellipsis(text: str, width: int) -> str:
    """Take the last words away, of a single one its last letters."""
    while _width(text) > width - 1:
        text = text.rpartition(" ")[0] or text[:-1]
    return f"{text.rstrip(' …')}…"


def cell(value: object) -> str:
    """Return a value on one line: "-" for none, three decimals for fractions, escapes for control characters."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return escaped(str(value))


def escaped(text: str, but: str = "") -> str:
    """Replace control characters `but` these by escapes: text from the service must not move a terminal's cursor."""
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cells: tuple[str, ...]
    is_of_numbers: bool
    longest_word: int = LONGEST_WORD

    @classmethod
    def of(cls, title: str, values: Sequence[object]) -> "_Column":
        is_of_numbers = bool(values) and all(isinstance(value, int | float | None) for value in values)
        return cls(title, tuple(map(_short, values)), is_of_numbers)

    @property
    def width(self) -> int:
        return max(_width(text) for text in (self.title, *self.cells))

    @property
    def least_width(self) -> int:
        if not isinstance(self.title, Free):
            return self.width
        return max(
            [
                _width(self.title),
                *(min(_width(word), self.longest_word) for text in self.cells for word in text.split(" ")),
            ]
        )


def _short(value: object) -> str:
    """Return a cell of a table; that its times are in UTC stands in their heading."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}" if isinstance(value, datetime) else cell(value)


def _last_extra(columns: Sequence[_Column]) -> _Column | None:
    return next((column for column in reversed(columns) if isinstance(column.title, Extra)), None)


def _least(columns: Sequence[_Column]) -> int:
    return sum(column.least_width for column in columns) + len(GAP) * (len(columns) - 1)


def _widths(columns: Sequence[_Column], total: int | None) -> list[int]:
    """Return the width of each column; those of free text share what the others leave, the short ones first."""
    if total is None:
        return [column.width for column in columns]
    widths = [column.least_width for column in columns]
    room = total - _least(columns)
    wanting = sorted((column.width - widths[place], place) for place, column in enumerate(columns))
    for count, (wanted, place) in enumerate(wanting):
        more = min(wanted, room // (len(wanting) - count))
        widths[place] += more
        room -= more
    return widths


def _lines(texts: Sequence[str], columns: Sequence[_Column], widths: Sequence[int], look: Look) -> list[str]:
    """Return the lines of one row, as many as its tallest cell has."""
    parts = [
        folded(text, width, MOST_LINES) if _width(text) > width else [text]
        for text, width in zip(texts, widths, strict=True)
    ]
    lines = []
    for number in range(max(map(len, parts))):
        padded = []
        for part, column, width in zip(parts, columns, widths, strict=True):
            text = _pad(part[number] if number < len(part) else "", width, column.is_of_numbers)
            padded.append(_painted_status(text, look) if column.title == "status" else text)
        lines.append(GAP.join(padded).rstrip())
    return lines


def _painted_status(text: str, look: Look) -> str:
    colour = COLOURS.get(text.partition(",")[0].strip())
    return _painted(text, colour) if colour and look.has_colours else text


def _painted(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m"


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal: wide East Asian characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
