"""Weight updates: one matrix for each edited layer, stored dense or as its factors, whichever is smaller."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.linalg import vector_norm

from errata.errors import CorruptArtifact, NotFinite
from errata.model import EditableModel

ROWS_AT_ONCE = 256
# Half of what float16, the narrowest type that a model is served in, can hold: the other half is the base weight's.
LARGEST_NUMBER = torch.finfo(torch.float16).max / 2
PART_NAME = re.compile(r"(0|[1-9]\d{0,8})\.(dense|left|right)")


@dataclass(frozen=True)
class Delta:
    """The update of one layer's down-projection: `left @ right`, or `left` alone where it is stored dense.

    Attributes:
        left: (d_model, rank) float32, or the whole update (d_model, d_in).
        right: (rank, d_in) float32, or None.
        rank: of factors, at most the number of facts (by MEND, of twice their tokens); of an update
            without any, the smaller side of the matrix.
    """

    left: Tensor
    right: Tensor | None
    rank: int

    @classmethod
    def of_factors(cls, left: Tensor, right: Tensor) -> Delta:
        """Make the update `left @ right` from float64 factors, in the smaller of both forms.

        Raises:
            NotFinite: the update has numbers that no weight can have (see `has_usable_numbers`).
        """
        rank, d_model, d_in = left.shape[1], left.shape[0], right.shape[1]
        if rank * (d_model + d_in) < d_model * d_in:
            delta = cls(left.float().contiguous().cpu(), right.float().contiguous().cpu(), rank)
        else:
            delta = cls((left @ right).float().contiguous().cpu(), None, min(rank, d_model, d_in))
        return delta._usable()

    def __add__(self, other: Delta) -> Delta:
        """Add two updates of one matrix; return the sum in the smaller of both forms.

        Factors are put side by side, which rounds nothing; what is dense is summed in float64 and rounded once.

        Raises:
            NotFinite: the sum has numbers that no weight can have.
        """
        if self.right is not None and other.right is not None:
            left, right = torch.cat([self.left, other.left], dim=1), torch.cat([self.right, other.right])
            return Delta.of_factors(left.double(), right.double())
        whole = self._dense_float64() + other._dense_float64()
        return Delta(whole.float(), None, min(self.rank + other.rank, *self.shape))._usable()

    @classmethod
    def of_change(cls, change: Tensor) -> Delta:
        """Make an update of a dense change, (d_model, d_in), that has no smaller factors.

        Raises:
            NotFinite: it has numbers that no weight can have.
        """
        return cls(change.float().contiguous().cpu(), None, min(change.shape))._usable()

    @property
    def shape(self) -> tuple[int, int]:
        """(d_model, d_in)."""
        return len(self.left), (self.left if self.right is None else self.right).shape[1]

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The tensors to store."""
        return (self.left,) if self.right is None else (self.left, self.right)

    def dense(self) -> Tensor:
        """Return the whole update, (d_model, d_in), float32."""
        return self.left if self.right is None else self.left @ self.right

    def _dense_float64(self) -> Tensor:
        return self.left.double() if self.right is None else self.left.double() @ self.right.double()

    @property
    def has_usable_numbers(self) -> bool:
        """True if the update holds finite numbers alone, none larger than `LARGEST_NUMBER`.

        Added to a base weight, it is then a number in every type that a model is served in. Factors are multiplied out
        only where the norms of their rows and columns leave it open: |(left right)_ij| <= |left_i| |right_j|.
        """
        if 0 in self.shape:
            return True
        if self.right is None:
            return bool(self.left.abs().max() <= LARGEST_NUMBER)
        rows = vector_norm(self.left, dim=1, dtype=torch.float64)
        columns = vector_norm(self.right, dim=0, dtype=torch.float64)
        if bool(rows.max() * columns.max() <= LARGEST_NUMBER):
            return True
        parts = (part @ self.right for part in torch.split(self.left, ROWS_AT_ONCE))
        return all(bool(part.abs().max() <= LARGEST_NUMBER) for part in parts)

    def _usable(self) -> Delta:
        if not self.has_usable_numbers:
            raise NotFinite(
                "an update has numbers that no weight can have; was lambda too small, or a learning rate too large?"
            )
        return self

    @cached_property
    def norm(self) -> float:
        """Frobenius norm; for factors, the root of tr((left^T left) (right right^T)), which multiplies nothing out."""
        if self.right is None:
            return float(self.left.norm())
        left, right = self.left.double(), self.right.double()
        return math.sqrt(float(((left.T @ left) * (right @ right.T)).sum().clamp(min=0)))


def edited_weights(model: EditableModel, deltas: Mapping[int, Delta]) -> dict[int, Tensor]:
    """Return the edited matrices by layer: base plus update, summed in float32, in the model's dtype and on its device.

    The model's weights must be the base's own. Raises `CorruptArtifact` as `edited_weight` does.
    """
    return {layer: edited_weight(layer, model.weight(layer), delta) for layer, delta in deltas.items()}


def edited_weight(layer: int, base: Tensor, delta: Delta, *, out: Tensor | None = None) -> Tensor:
    """Return the edited matrix of a layer, (d_model, d_in): a new one, or `out`, which may be `base` itself.

    Raises `CorruptArtifact` where the update is not of the base's shape.
    """
    require_shape(layer, delta, base.shape)
    left, right = delta.left.to(base.device), None if delta.right is None else delta.right.to(base.device)
    edited = torch.empty_like(base) if out is None else out
    # Part by part: of a large matrix, the whole in float32 several times over would be most of the time and memory.
    for first in range(0, len(base), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        part = base[rows].float()
        edited[rows] = part + left[rows] if right is None else torch.addmm(part, left[rows], right)
    return edited


def require_shape(layer: int, delta: Delta, base: Sequence[int]) -> None:
    """Raise `CorruptArtifact` if a layer's update does not have its matrix's shape, (d_model, d_in)."""
    if delta.shape != tuple(base):
        raise CorruptArtifact(f"layer {layer}: the update is {delta.shape}, the matrix {tuple(base)}")


def write(path: Path, deltas: Mapping[int, Delta]) -> None:
    """Store updates as safetensors; equal updates give equal bytes.

    The file is complete or absent only if the caller renames it into place.
    """
    tensors: dict[str, Tensor] = {}
    for layer, delta in deltas.items():
        names = (f"{layer}.dense",) if delta.right is None else (f"{layer}.left", f"{layer}.right")
        tensors.update(zip(names, delta.parts, strict=True))
    save_file(tensors, path)


def read(path: Path) -> dict[int, Delta]:
    """Read the updates that `write` stored.

    Raises:
        CorruptArtifact: the file is missing, truncated or not of this form.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CorruptArtifact(f"{path.name} cannot be read: {error}") from error
    parts: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        found = PART_NAME.fullmatch(name)
        if found is None:
            raise CorruptArtifact(f"{path.name}: {name!r} is no part of an update of a layer")
        if tensor.dtype != torch.float32 or tensor.dim() != 2:
            kind = f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
            raise CorruptArtifact(f"{path.name}: {name} is {kind}, and not a matrix of float32")
        parts[int(found[1])][found[2]] = tensor
    return {layer: _delta_of(parts[layer], f"{path.name}: layer {layer}") for layer in sorted(parts)}


def _delta_of(parts: Mapping[str, Tensor], called: str) -> Delta:
    if parts.keys() == {"dense"}:
        dense = parts["dense"]
        return Delta(dense, None, min(dense.shape))
    if parts.keys() != {"left", "right"}:
        raise CorruptArtifact(f"{called} is neither dense nor two factors, but {' and '.join(sorted(parts))}")
    left, right = parts["left"], parts["right"]
    if left.shape[1] != len(right):
        raise CorruptArtifact(f"{called}: factors of shape {tuple(left.shape)} and {tuple(right.shape)} do not fit")
    return Delta(left, right, len(right))


def relative_norm(model: EditableModel, layer: int, delta: Delta) -> float:
    """Return the norm of the update divided by the norm of the base matrix."""
    return delta.norm / float(torch.linalg.matrix_norm(model.weight(layer).data.float()))
