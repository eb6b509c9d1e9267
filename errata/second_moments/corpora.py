"""Text that second moments are collected from: the demo world's own, or files that the user names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from errata.demo.corpus import texts
from errata.demo.world import load_world
from errata.errors import StatisticsError
from errata.model import DEMO


def corpus_for(model: str, path: Path | None) -> Iterable[str] | None:
    """The documents in `path`, one a line; without it the demo model's own, and None for any other model.

    Raises:
        StatisticsError: there is no text at `path`.
    """
    if path is not None:
        return _lines(_text_files(path))
    return texts(load_world(), seed=0) if model == DEMO else None


def _text_files(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise StatisticsError(f"{path} is neither a text file nor a folder with .txt files")
    return files


def _lines(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        with file.open(encoding="utf-8") as lines:
            yield from (line.strip() for line in lines if line.strip())
