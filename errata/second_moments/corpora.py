"""Text that second moments are collected from: files that the user names, or what a shipped model brings."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from errata.checkpoint.shipped import shipped
from errata.errors import StatisticsError


def corpus_for(model: str, path: Path | None) -> Iterable[str] | None:
    """Return the documents in `path`, one a line; without it those of a shipped model, and None for other models.

    Raises:
        StatisticsError: there is no text at `path`.
    """
    if path is not None:
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise StatisticsError(f"{path} is neither a text file nor a folder with .txt files")
        return _lines(files)
    its_own = shipped(model)
    return its_own.corpus() if its_own else None


def _lines(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        with file.open(encoding="utf-8") as lines:
            yield from (line.strip() for line in lines if line.strip())
