"""Where the parts of a model are: all on one device, or its blocks shared out over several.

Each device holds blocks that follow one another. The first device, the model's own, also holds all that is not a block:
embeddings, final norm, head. Whoever runs blocks gives and gets tensors on the model's own device: what enters a block
elsewhere is brought there by a hook of the block, and what leaves the last one comes back. What is seen or kept within
a block, such as keys and values or what enters its down-projection, is on the block's device, and so are its matrix
and what is computed for it: keys of facts, second moments, updates.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from errata.checkpoint.architectures import Architecture
from errata.errors import ModelError

# What a model may take of the free memory of one GPU, under `auto`, before it is shared out. The rest is for its work.
SHARE_FOR_WEIGHTS = 0.8


@dataclass(frozen=True, slots=True)
class Placement:
    """The device of each block, and the model's own, which holds all else."""

    own: torch.device
    blocks: tuple[torch.device, ...]

    @classmethod
    def of(cls, network: nn.Module, architecture: Architecture, devices: str) -> Placement:
        """Plan where the parts of a model go, whose weights may be anywhere yet, or on `meta`.

        Args:
            devices: as `shares_of` reads them, or `auto`: the first GPU, or all of them where the model is too large
                for it; the CPU where there is none. Devices without shares hold as much as they have free memory for.

        Raises:
            ModelError: `devices` cannot be read, or the model does not fit.
        """
        sizes = [_num_bytes(block) for block in _blocks(network, architecture)]
        rest = _num_bytes(network) - sum(sizes)
        total = rest + sum(sizes)
        if devices == "auto":
            devices = _automatic(total)
        shares = shares_of(devices)
        named = [device for device, _ in shares]
        if len(named) == 1:
            return cls(named[0], tuple(named * len(sizes)))
        by_memory = shares[0][1] is None
        weights = [_free_bytes(device) if share is None else share for device, share in shares]
        if by_memory and total > sum(weights):
            raise ModelError(
                f"the model takes {total / 1e9:.1f} GB, and {devices} have {sum(weights) / 1e9:.1f} GB free"
            )
        return cls(named[0], tuple(named[number] for number in shared_out(sizes, rest, weights)))

    @property
    def is_on_one_device(self) -> bool:
        """True if nothing travels between devices."""
        return set(self.blocks) == {self.own}

    def __str__(self) -> str:
        """Say which blocks each device has."""
        if self.is_on_one_device:
            return str(self.own)
        layers = range(len(self.blocks))
        parts = [(device, list(of_one)) for device, of_one in itertools.groupby(layers, key=self.blocks.__getitem__)]
        alone = [] if self.blocks[0] == self.own else [f"{self.own} (no block)"]
        return ", ".join([*alone, *(f"{device} (blocks {of_one[0]} to {of_one[-1]})" for device, of_one in parts)])


def shares_of(devices: str) -> list[tuple[torch.device, float | None]]:
    """Read names of devices, as PyTorch has them, such as `cuda:0,cuda:1`, or with their shares `cuda:0=3,cpu=1`.

    Raises:
        ModelError: a name or a share cannot be read, a device comes twice, or some have shares and others none.
    """
    shares: list[tuple[torch.device, float | None]] = []
    for part in devices.split(","):
        name, _, share = part.strip().partition("=")
        try:
            device = torch.device(name)
            number = float(share) if share else None
        except (RuntimeError, ValueError):
            raise ModelError(
                f"{part.strip()!r} is no device: say auto, cpu, cuda, cuda:1, cuda:0,cuda:1 or cuda:0=2,cpu=1"
            ) from None
        if device.type == "cuda" and device.index is None and "," in devices:
            device = torch.device("cuda", 0)
        if number is not None and not 0 < number < float("inf"):
            raise ModelError(f"the share of {name} must be a positive number, not {share}")
        shares.append((device, number))
    if len({device for device, _ in shares}) < len(shares):
        raise ModelError(f"a device comes twice in {devices}")
    if len({number is None for _, number in shares}) > 1:
        raise ModelError(f"some devices of {devices} have a share and others have none")
    return shares


def shared_out(sizes: Sequence[int], rest: int, shares: Sequence[float]) -> list[int]:
    """Return the number of the device of each block, ascending.

    Each device gets that part of all bytes that its share is of all shares, to half a block.

    Args:
        sizes: bytes of each block.
        rest: bytes of what the first device holds besides.
        shares: of each device, in any unit.
    """
    total, all_shares = rest + sum(sizes), sum(shares)
    ends = [total * share / all_shares for share in itertools.accumulate(shares)][:-1]
    numbers, before = [], rest
    for size in sizes:
        middle = before + size / 2
        numbers.append(sum(middle >= end for end in ends))
        before += size
    return numbers


def place(network: nn.Module, architecture: Architecture, placement: Placement) -> None:
    """Bring the parts of a model to their devices, one after another, and let what enters them follow."""
    backbone: Any = network.get_submodule(architecture.backbone)
    blocks = _blocks(network, architecture)
    # Set aside, so that the rest goes alone, with tied weights still tied.
    backbone._modules[architecture.blocks] = nn.ModuleList()
    network.to(placement.own)
    backbone._modules[architecture.blocks] = blocks
    for block, device in zip(blocks, placement.blocks, strict=True):
        block.to(device)
    arrivals = {device: _Arrival(device) for device in {placement.own, *placement.blocks}}
    for block, device in zip(blocks, placement.blocks, strict=True):
        if device != placement.own:
            block.register_forward_pre_hook(arrivals[device], with_kwargs=True)
    if placement.blocks[-1] != placement.own:
        final_norm = backbone.get_submodule(architecture.final_norm)
        final_norm.register_forward_pre_hook(arrivals[placement.own], with_kwargs=True)


class _Arrival:
    """Brings what enters the blocks of a device to it.

    Hidden states go over where the device begins. Mask and positions are the same tensors for all blocks of a run: what
    was made of them here serves each block, for as long as they live.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._brought = WeakTensorKeyDictionary()

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        hidden, *others = args
        arrived = (hidden.to(self._device), *map(self._here, others))
        return arrived, {name: self._here(value) for name, value in kwargs.items()}

    def _here(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._here, value))
        if not isinstance(value, Tensor) or value.device == self._device:
            return value
        if value not in self._brought:
            self._brought[value] = value.to(self._device)
        return self._brought[value]


def _blocks(network: nn.Module, architecture: Architecture) -> Any:
    return network.get_submodule(f"{architecture.backbone}.{architecture.blocks}")


def _num_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in itertools.chain(module.parameters(), module.buffers()))


def _automatic(num_bytes: int) -> str:
    if not torch.cuda.is_available():
        return "cpu"
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    fits = num_bytes <= SHARE_FOR_WEIGHTS * _free_bytes(torch.device("cuda", 0))
    return "cuda" if fits or len(gpus) == 1 else ",".join(gpus)


def _free_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        raise ModelError(f"how much of a model goes to {device}? Say shares, such as cuda:0=3,{device}=1")
    return torch.cuda.mem_get_info(device)[0]
