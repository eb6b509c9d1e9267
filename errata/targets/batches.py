"""The number of target searches that run at once: as many as fit into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from errata.model import EditableModel

SHARE_OF_FREE_MEMORY = 0.8
CPU_BYTES = 2 * 2**30
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
# Where a batch has this many tokens, more of them no longer make each of them cheaper.
SATURATED_TOKENS = {"cpu": 1_024, "cuda": 16_384}


@dataclass(frozen=True, slots=True)
class Footprint:
    """The size of one search, or of several together."""

    rows: int
    suffix: int  # the longest, in tokens, to which all rows are padded
    prefix: int  # likewise
    predictions: int  # distributions over the vocabulary that are computed

    @property
    def order(self) -> tuple[int, int]:
        """The sort key that wastes little on padding."""
        return self.suffix, self.prefix

    @property
    def tokens(self) -> int:
        """The number of tokens that each step runs."""
        return self.rows * self.suffix

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(
            rows=self.rows + other.rows,
            suffix=max(self.suffix, other.suffix),
            prefix=max(self.prefix, other.prefix),
            predictions=self.predictions + other.predictions,
        )


@dataclass(frozen=True, slots=True)
class Room:
    """The memory of one device, and what a batch takes of it: an estimate; if it was too low, the batch is halved."""

    memory_bytes: float
    bytes_per_suffix_token: int
    bytes_per_prefix_token: int
    bytes_per_prediction: int

    def needed(self, total: Footprint) -> int:
        """Return the bytes that searches of this size take here."""
        return (
            total.rows * (total.suffix * self.bytes_per_suffix_token + total.prefix * self.bytes_per_prefix_token)
            + total.predictions * self.bytes_per_prediction
        )


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a batch, which must fit on each device that it runs on."""

    rooms: tuple[Room, ...]
    saturated_tokens: int
    max_length: int

    @classmethod
    def of(cls, model: EditableModel, layer: int) -> BatchLimits:
        """Return the limits of the model's devices, for a search at block `layer`."""
        own, above = model.device, model.placement.blocks[layer + 1 :]
        d_model, d_in = model.weight(layer).shape

        def room(device: torch.device) -> Room:
            per_number = model.network.dtype.itemsize * above.count(device)
            return Room(
                memory_bytes=SHARE_OF_FREE_MEMORY * _free_bytes(device) if device.type == "cuda" else CPU_BYTES,
                # What a block keeps for its gradient: the inputs of its norm, its attention and its activation; the
                # keys and values, put behind those of the prefix, which are held as well.
                bytes_per_suffix_token=per_number * (4 * d_model + 2 * d_in),
                bytes_per_prefix_token=per_number * 4 * d_model,
                bytes_per_prediction=3 * 4 * int(model.network.config.vocab_size) if device == own else 0,
            )

        return cls(
            rooms=tuple(room(device) for device in dict.fromkeys((own, *above))),
            saturated_tokens=SATURATED_TOKENS.get(own.type, SATURATED_TOKENS["cpu"]),
            max_length=model.max_length,
        )

    def fitting(self, footprints: Iterable[Footprint]) -> int:
        """Count how many of the first footprints, in their `order`, make one batch: at least one.

        A batch is full when there is no memory for more, or when the device is busy with it already and the next
        search would lengthen every row.
        """
        count, batch = 0, Footprint(0, 0, 0, 0)
        for larger in itertools.accumulate(footprints):
            is_full = batch.tokens >= self.saturated_tokens and larger.suffix > batch.suffix
            if count and (is_full or not self._holds(larger)):
                break
            count, batch = count + 1, larger
        return count

    def halved(self, footprints: Iterable[Footprint]) -> BatchLimits:
        """Return limits that half of a batch with these footprints keeps."""
        total = sum(footprints, Footprint(0, 0, 0, 0))
        rooms = tuple(replace(room, memory_bytes=room.needed(total) / 2) for room in self.rooms)
        return replace(self, rooms=rooms)

    def _holds(self, total: Footprint) -> bool:
        # Rows are moved along so that their suffixes begin at one position, and must not leave the model's context.
        has_room = all(room.needed(total) <= room.memory_bytes for room in self.rooms)
        return has_room and total.prefix + total.suffix <= self.max_length


def _free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, including what PyTorch has reserved and does not use now."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def ran_out_of_memory(error: BaseException) -> bool:
    """Return True if the device or the machine had no memory left, which PyTorch and its libraries say in many ways."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in said for sign in OUT_OF_MEMORY)
