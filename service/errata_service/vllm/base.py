"""The base model of a home folder as far as it is known without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from errata_registry.home import BoundBase, MatrixValues

from errata.checkpoint.architectures import Architecture, architecture_of
from errata.checkpoint.folder import read_config
from errata.errors import UnknownVersion


@dataclass(slots=True)
class Base:
    """A base model whose weights are loaded elsewhere; `errata.export.lora.Base` is what an adapter needs of it."""

    name: str
    digest: str
    folder: Path | None
    architecture: Architecture
    matrix_shapes: tuple[tuple[int, int], ...]
    values: MatrixValues

    @classmethod
    def of(cls, home: Path) -> Base:
        """Read what a home folder and the model's config say.

        Raises as `BoundBase.of`, `UnknownVersion` also where an older program bound the folder, and `ModelError`.
        """
        bound = BoundBase.of(home)
        if bound.values is None:
            raise UnknownVersion(f"{home} is of an older release: start a service or a worker of this one on it first")
        folder = Path(bound.name)
        return cls(
            name=bound.name,
            digest=bound.digest,
            folder=folder if folder.is_dir() else None,
            architecture=architecture_of(read_config(bound.name)),
            matrix_shapes=bound.matrix_shapes(),
            values=bound.values,
        )
