"""The values that a search tries: ranges of layers, clamps, lambdas on a log grid, and refinement."""

from collections.abc import Sequence
from dataclasses import dataclass

from errata.errors import InvalidHyperparameters

LONGEST_RANGE = 6  # the longest of those published
LAMBDAS = (10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
CLAMPS = (0.75, 1.5, 3.0)
WEIGHT_DECAYS = (0.05, 0.5)
KL_FACTORS = (0.0625, 0.5)
REFINEMENT_COSTS = (1.0, 5.0, 25.0)
REFINEMENT_STEPS = 30  # tried beside none; ten leave the facts that are hardest to move where they were
FOR_A_SMALL_MODEL = {"weight_decay": 0.05, "kl_factor": 0.5}
"""Beside the published weights of a search's loss, those that the demo model is edited with. On a small model the
published decay ends a search long before the clamp does, and no clamp or lambda makes up for it."""

LayerRange = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The values to try."""

    layer_ranges: tuple[LayerRange, ...]
    lambdas: tuple[float, ...] = LAMBDAS
    clamps: tuple[float, ...] = CLAMPS

    def __post_init__(self) -> None:
        for name, values in (("layers", self.layer_ranges), ("lambdas", self.lambdas), ("clamps", self.clamps)):
            if not values:
                raise InvalidHyperparameters(name, "there is nothing to try")


def lower_half(num_layers: int) -> tuple[LayerRange, ...]:
    """Return every range of up to `LONGEST_RANGE` neighbouring layers in the lower half of the blocks.

    Facts are said to be recalled there, and `errata trace` mostly finds them there.
    """
    half = max(1, num_layers // 2)
    return tuple(
        tuple(range(first, first + length))
        for length in range(1, min(half, LONGEST_RANGE) + 1)
        for first in range(half - length + 1)
    )


def read_ranges(text: str) -> tuple[LayerRange, ...]:
    """Read ranges such as `0,0-1,3-8`. Raises `InvalidHyperparameters`."""
    return tuple(_read_range(part) for part in text.split(","))


def _read_range(part: str) -> LayerRange:
    first, _, last = part.strip().partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not last)) or int(last or first) < int(first):
        raise InvalidHyperparameters("layers", f"{part.strip()!r} is no range of layers such as 3-8")
    return tuple(range(int(first), int(last or first) + 1))


def spelled(layers: Sequence[int]) -> str:
    """Write a range as `read_ranges` takes it."""
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"
