"""Hyperparameters of MEMIT: one typed record per model, shipped for the models of the paper and the demo."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata.errors import InvalidHyperparameters

SHIPPED = Path(__file__).parent / "shipped_hyperparameters"


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How targets are searched for and how they are spread over the layers.

    Attributes:
        layers: blocks whose MLP down-projection is edited, ascending; the target is set at the last of them.
        moment_weight: lambda, the weight of the second moment C against the new keys (Eq. 15 of the paper).
        num_steps: forward passes of a target search; the last one is not followed by an update.
        learning_rate: Adam's step size for the target's offset.
        clamp: largest norm of the offset, as a multiple of the hidden state's norm.
        weight_decay: weight of |offset| / |hidden state|^2 in the loss.
        kl_factor: weight of the KL term that keeps what the subject is.
        stop_loss: a search ends when its total loss falls below this.
        num_samples: key vectors that the second moment is collected from; None for ten for each dimension of a key.
        seed: of the context prefixes that are sampled from the model.
    """

    layers: tuple[int, ...]
    moment_weight: float
    num_steps: int = 25
    learning_rate: float = 0.5
    clamp: float = 0.75
    weight_decay: float = 0.5
    kl_factor: float = 0.0625
    stop_loss: float = 0.05
    num_samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidHyperparameters("layers", "names no layer")
        if list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise InvalidHyperparameters("layers", f"must be ascending, distinct and not negative: {self.layers}")
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if not (math.isfinite(value) and low <= value <= high):
                raise InvalidHyperparameters(name, f"must be between {low:g} and {high:g}, got {value}")

    def overridden(self, changes: Mapping[str, Any]) -> Hyperparameters:
        """This record with `changes` (from JSON) put in.

        Raises:
            InvalidHyperparameters: an unknown name, a value of the wrong type or out of its bounds.
        """
        return dataclasses.replace(self, **{name: _typed(name, value) for name, value in changes.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Hyperparameters:
        """The record that `as_dict` gave. Raises `InvalidHyperparameters`."""
        typed = {name: _typed(name, value) for name, value in values.items()}
        for name in ("layers", "moment_weight"):
            if name not in typed:
                raise InvalidHyperparameters(name, "is missing")
        return cls(**typed)

    @classmethod
    def from_file(cls, path: Path) -> Hyperparameters:
        """Read a JSON file of the shipped form. Raises `InvalidHyperparameters`."""
        try:
            content = json.loads(path.read_text())
            values = content["hyperparameters"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidHyperparameters("file", f"{path} cannot be read: {error!r}") from error
        return cls.from_dict(values)

    @classmethod
    def for_model(cls, model: str, file: Path | None = None) -> Hyperparameters | None:
        """The record in `file`, or else the one shipped for a model of that name (hub name, or `demo`), if any.

        Raises:
            InvalidHyperparameters: the file cannot be used.
        """
        if file is not None:
            return cls.from_file(file)
        for path in sorted(SHIPPED.glob("*.json")):
            if model in json.loads(path.read_text())["models"]:
                return cls.from_file(path)
        return None


# Safe bounds: wide enough for any published setting, narrow enough to catch a slip of the keyboard.
BOUNDS: dict[str, tuple[float, float]] = {
    "moment_weight": (1e-3, 1e7),
    "num_steps": (1, 500),
    "learning_rate": (1e-4, 10),
    "clamp": (0.01, 100),
    "weight_decay": (0, 100),
    "kl_factor": (0, 100),
    "stop_loss": (0, 10),
    "num_samples": (100, 100_000_000),
    "seed": (0, 2**32 - 1),
}
_INTEGERS = {"num_steps", "num_samples", "seed"}
_OPTIONAL = {"num_samples"}


def _typed(name: str, value: Any) -> Any:
    if name == "layers":
        if not isinstance(value, list | tuple) or not all(type(layer) is int for layer in value):
            raise InvalidHyperparameters(name, f"must be a list of layer numbers, got {value!r}")
        return tuple(value)
    if name not in BOUNDS:
        raise InvalidHyperparameters(name, f"is not a hyperparameter; there are layers, {', '.join(BOUNDS)}")
    if value is None and name in _OPTIONAL:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (name in _INTEGERS and value != int(value)):
        kind = "a whole number" if name in _INTEGERS else "a number"
        raise InvalidHyperparameters(name, f"must be {kind}, got {value!r}")
    return int(value) if name in _INTEGERS else float(value)
