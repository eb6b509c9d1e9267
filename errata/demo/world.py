"""The demo world: true facts by relation, with the phrasings that state them, and prose to mix them with.

The data lie in `world/`, one TOML file per relation; `load_world` reads and checks them.
"""

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORLD_FOLDER = Path(__file__).parent / "world"
SUBJECT_SLOT = "{}"


class WorldError(ValueError):
    """A file of the world is not as it should be; the message names the file and what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation. A phrasing holds `{}` where the subject stands and ends where the object begins."""

    id: str
    subject_kind: str
    object_kind: str
    phrasings: tuple[str, ...]  # the first is the edit phrasing

    @property
    def edit_phrasing(self) -> str:
        return self.phrasings[0]


@dataclass(frozen=True, slots=True)
class WorldFact:
    """A true (subject, relation, object)."""

    subject: str
    relation: Relation
    object: str

    @property
    def held_out_phrasing(self) -> str:
        """The one phrasing in which this fact is never trained; never the edit phrasing."""
        others = self.relation.phrasings[1:]
        digest = hashlib.sha256(f"{self.relation.id}\n{self.subject}".encode()).digest()
        return others[int.from_bytes(digest[:8], "big") % len(others)]

    @property
    def trained_phrasings(self) -> tuple[str, ...]:
        """The edit phrasing and all others but the held-out one."""
        return tuple(phrasing for phrasing in self.relation.phrasings if phrasing != self.held_out_phrasing)

    def prompt(self, phrasing: str) -> str:
        """Put the subject into the phrasing: the text that the object completes."""
        return phrasing.replace(SUBJECT_SLOT, self.subject)


@dataclass(frozen=True, slots=True)
class World:
    """All facts, and the texts around them."""

    relations: tuple[Relation, ...]
    facts: tuple[WorldFact, ...]
    prose: tuple[str, ...]  # paragraphs for training
    unrelated: tuple[str, ...]  # sentences put before a prompt when measuring; never trained

    @property
    def subjects(self) -> tuple[str, ...]:
        """Every subject once, sorted."""
        return tuple(sorted({fact.subject for fact in self.facts}))

    def facts_of(self, relation: Relation) -> Iterator[WorldFact]:
        return (fact for fact in self.facts if fact.relation == relation)


def load_world(folder: Path = WORLD_FOLDER) -> World:
    """Read and check the world's files. Raises `WorldError` naming the first bad file."""
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise WorldError(f"{folder}: no relation files")
    relations: list[Relation] = []
    facts: list[WorldFact] = []
    for path in paths:
        relation, relation_facts = _read_relation(path)
        relations.append(relation)
        facts.extend(relation_facts)
    return World(
        relations=tuple(relations),
        facts=tuple(facts),
        prose=_read_lines(folder / "prose.txt"),
        unrelated=_read_lines(folder / "unrelated.txt"),
    )


def _read_relation(path: Path) -> tuple[Relation, list[WorldFact]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorldError(f"{path}: {error}") from error
    relation = Relation(
        id=_text(path, table, "id"),
        subject_kind=_text(path, table, "subject"),
        object_kind=_text(path, table, "object"),
        phrasings=_phrasings(path, table.get("phrasings")),
    )
    if relation.id != path.stem:
        raise WorldError(f"{path}: id {relation.id!r} differs from the file's name")
    objects = table.get("facts")
    if not isinstance(objects, dict) or not objects:
        raise WorldError(f"{path}: [facts] must map subjects to objects")
    for subject in objects:
        _text(path, objects, subject)
        if not subject or subject != subject.strip():
            raise WorldError(f"{path}: subject {subject!r} is empty or has space around it")
    return relation, [WorldFact(subject, relation, answer) for subject, answer in objects.items()]


def _phrasings(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(phrasing, str) for phrasing in value):
        raise WorldError(f"{path}: phrasings must be a list of strings")
    if len(value) < 4 or len(set(value)) < len(value):
        raise WorldError(f"{path}: a relation needs at least four phrasings, all different")
    for phrasing in value:
        if phrasing.count(SUBJECT_SLOT) != 1 or phrasing != phrasing.strip():
            raise WorldError(f"{path}: phrasing {phrasing!r} needs one {{}} and no space around it")
    return tuple(value)


def _text(path: Path, table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value or value != value.strip():
        raise WorldError(f"{path}: {key!r} must be a non-empty string without space around it")
    return value


def _read_lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a text file that are not empty."""
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise WorldError(f"{path}: {error}") from error
    if not lines:
        raise WorldError(f"{path}: no text")
    return lines
