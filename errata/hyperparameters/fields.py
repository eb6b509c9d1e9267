"""What the hyperparameters of all methods have in common: layers and a seed, bounds of numbers, JSON and overrides."""

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_args, get_origin, get_type_hints

from errata.errors import InvalidHyperparameters
from errata.hyperparameters.defaults import defaults_for


class Between(NamedTuple):
    """Safe bounds of a number, both included: wide enough for any published setting, narrow enough to catch a slip."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """The fields that all methods share.

    Attributes:
        method: whose record it is.
        one_layer: whether that method edits exactly one layer.
        layers: blocks whose MLP down-projection is edited, ascending.
        seed: of the context prefixes that are sampled from the model. A version keeps its prefixes, for the versions
            that are made of it, also where its own method puts none before its prompts.
    """

    method: ClassVar[str]
    one_layer: ClassVar[bool] = False

    layers: tuple[int, ...]
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.layers, list | tuple) or not all(type(layer) is int for layer in self.layers):
            raise InvalidHyperparameters("layers", f"must be a list of layer numbers, got {_json(self.layers)}")
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise InvalidHyperparameters("layers", "names no layer")
        if list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise InvalidHyperparameters(
                "layers", f"must be ascending, distinct and not negative, got {list(self.layers)}"
            )
        if self.one_layer and len(self.layers) > 1:
            raise InvalidHyperparameters("layers", f"{self.method} edits one layer, got {list(self.layers)}")
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            if get_origin(hint) is Annotated:
                object.__setattr__(self, name, _checked(name, getattr(self, name), *get_args(hint)))

    def overridden(self, changes: Mapping[str, Any]) -> Self:
        """Return this record with `changes` (from JSON).

        Raises:
            InvalidHyperparameters: an unknown name, a value of the wrong type or out of its bounds.
        """
        self._require_known(changes)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**dataclasses.asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the record that `as_dict` gave. Raises `InvalidHyperparameters`."""
        cls._require_known(values)
        for field in dataclasses.fields(cls):
            if field.default is dataclasses.MISSING and field.name not in values:
                raise InvalidHyperparameters(field.name, "is missing")
        return cls(**values)

    @classmethod
    def for_model(cls, model: str, file: Path | None = None) -> Self | None:
        """Return this method's record from `file`, or else the one shipped for a model of that name, if any.

        Raises:
            InvalidHyperparameters: the file cannot be used.
        """
        default = defaults_for(model, file).get(cls.method)
        return None if default is None else cls.from_dict(default.values)

    @classmethod
    def bounds(cls, name: str) -> Between:
        """Return the safe bounds of one of the numbers."""
        between: Between = get_args(get_type_hints(cls, include_extras=True)[name])[1]
        return between

    @classmethod
    def _require_known(cls, names: Iterable[str]) -> None:
        known = [field.name for field in dataclasses.fields(cls)]
        for name in names:
            if name not in known:
                raise InvalidHyperparameters(name, f"is not a hyperparameter of {cls.method}; {there_are(known, name)}")


def there_are(known: Sequence[str], name: str) -> str:
    """Say which names are known, and which of them was probably meant by another one."""
    meant = difflib.get_close_matches(name[:100], known, 1)
    return f"there are {', '.join(known)}{f'; did you mean `{meant[0]}`?' if meant else ''}"


def _json(value: Any) -> str:
    return json.dumps(value, default=str)


def _checked(name: str, value: Any, annotated: Any, bounds: Between) -> float | None:
    """Return a number in its field's own type. Raises `InvalidHyperparameters`."""
    kinds = get_args(annotated) or (annotated,)
    if value is None and NoneType in kinds:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not is_number or (int in kinds and value != int(value)):
        raise InvalidHyperparameters(
            name, f"must be {'a whole number' if int in kinds else 'a number'}, got {_json(value)}"
        )
    number = int(value) if int in kinds else float(value)
    if not bounds.low <= number <= bounds.high:
        raise InvalidHyperparameters(name, f"must be between {bounds.low:g} and {bounds.high:g}, got {number}")
    return number
