"""The values that a search tries: ranges of layers, clamps, lambdas on a log grid, and refinement."""

from collections.abc import Sequence
from dataclasses import dataclass

from errata.errors import InvalidHyperparameters

LONGEST_RANGE = 6  # the longest of those published
LAMBDAS = (10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
CLAMPS = (0.75, 1.5, 4.0)  # those published for GPT-J and for Llama, and one between
WEIGHT_DECAYS = (0.05, 0.5)
KL_FACTORS = (0.0625, 0.5)
REFINEMENT_COSTS = (0.5, 2.0, 8.0)
REFINEMENT_STEPS = 30  # tried beside none; ten leave the facts that are hardest to move where they were
SMALL = 12  # blocks
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


def by_depth(num_layers: int, near: Sequence[int] = ()) -> tuple[LayerRange, ...]:
    """Return a few ranges of neighbouring layers in the lower half of the blocks, longer ones the deeper the model is.

    They are as long as published ones, which take 5 of 32 blocks, and half as long, and begin at every eighth of the
    blocks. Facts are said to be recalled in the lower half, and `errata trace` mostly finds them there.

    Args:
        near: layers that a trace proposes. They are a range, too, and of the others only those stay that begin within
            an eighth of the blocks of theirs.
    """
    length = min(LONGEST_RANGE, max(2, round(num_layers * 5 / 32)))
    half, step = max(1, num_layers // 2), max(1, num_layers // 8)
    ranges = {
        tuple(range(first, first + one))
        for one in (length // 2, length)
        for first in range(0, half - one + 1, step)
        if not near or near[0] - step <= first <= near[-1] + step
    }
    return tuple(sorted({*ranges, *([tuple(near)] if near else [])}, key=lambda layers: (len(layers), layers)))


def shifted(layers: LayerRange, num_layers: int) -> tuple[LayerRange, ...]:
    """Return the same number of layers an eighth of the blocks later, and that much earlier, as far as there are."""
    step, last = max(1, num_layers // 8), num_layers - 2  # the last block stays as it is
    starts = (min(layers[0] + step, last + 1 - len(layers)), max(0, layers[0] - step))
    return tuple(tuple(range(first, first + len(layers))) for first in starts if first >= 0)


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
