"""Models that come with Errata, found by name: the library knows where they lie, not which there are.

The package `errata.<name>` ships the model <name> if its folder `model` holds a checkpoint. Beside that folder may lie
`mend.safetensors`, the network that MEND edits the model with. What else belongs to the model is in the package's
module `shipped`, which has the functions of `Shipped`.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

_PACKAGE = Path(__file__).parents[1]


class Shipped(Protocol):
    """The functions of the module `errata.<name>.shipped`."""

    def corpus(self) -> Iterable[str]:
        """Return the documents that second moments are collected from, the same in the same order each time."""

    def data_set(self, name: Any) -> Any:
        """Return the `DataSet` that methods are compared on, in the form `name` (see `errata.comparison.data_sets`)."""


def shipped_checkpoint(model: str) -> Path | None:
    """Return the folder of the checkpoint that is shipped under this name; None if there is none."""
    folder = _PACKAGE / model / "model"
    return folder if model.isidentifier() and (folder / "config.json").is_file() else None


def shipped(model: str) -> Shipped | None:
    """Return what comes with a shipped model; None for any other model."""
    return cast(Shipped, import_module(f"errata.{model}.shipped")) if shipped_checkpoint(model) else None


def shipped_files(name: str) -> list[Path]:
    """Return the files of this name that lie beside the checkpoints of shipped models."""
    return sorted(_PACKAGE.glob(f"*/{name}"))
