"""Ordinary text that every machine has: the documentation of Python itself.

It is read in a second, where text that is sampled from a model takes minutes, and is the same for every model.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from errata.model import EditableModel
from errata.model.chat import has_template, rendered

LOCAL = "Python's documentation on this machine"
SHORTEST = 150  # characters of a paragraph
_BLANK_LINE = re.compile(r"\n\s*\n")


def local_texts() -> Iterator[str]:
    """Yield paragraphs of prose: those of the language's reference, then those of the library's docstrings.

    The reference's come in an order that mixes its topics, so that little of it is about many of them. There are some
    280,000 tokens in all.
    """
    from pydoc_data.topics import topics  # half a megabyte, which nobody else needs

    yield from sorted(_paragraphs(topics.values()), key=_mixed)
    yield from _paragraphs(_docstrings(Path(sysconfig.get_path("stdlib"))))


def with_conversations(model: EditableModel, texts: Iterable[str]) -> Iterator[str]:
    """Yield texts, every second one of them as what an assistant says, where the model has a chat template.

    Such a model is used through its template, whose own tokens and places would otherwise not be in C at all.
    """
    is_talking = has_template(model)
    for number, text in enumerate(texts):
        if not is_talking or number % 2:
            yield text
            continue
        opening = " ".join(text.split()[:6])
        turns = [{"role": "user", "content": f"{opening} ...?"}, {"role": "assistant", "content": text}]
        yield rendered(model, turns, add_generation_prompt=False)


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for paragraph in _BLANK_LINE.split(text):
            line = " ".join(paragraph.split())
            if len(line) >= SHORTEST and ">>>" not in line:
                yield line


def _docstrings(folder: Path) -> Iterator[str]:
    """Yield the docstrings of the modules in `folder` and in the packages there."""
    for path in sorted([*folder.glob("*.py"), *folder.glob("[a-z]*/*.py")]):
        if path.parent.name in ("site-packages", "dist-packages", "test", "idlelib", "lib2to3"):
            continue
        try:
            module = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield text


def _mixed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
