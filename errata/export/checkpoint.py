"""A version as a whole checkpoint: the base's files, with the edited matrices in place of the base's.

An edited matrix has the shape and dtype of the stored one. So an edited shard equals the base's byte for byte outside
these matrices. It is made while it is sent, with one matrix in memory at a time.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

import torch
from torch import Tensor

from errata.checkpoint.folder import CHECKPOINT_FILES
from errata.deltas import Delta, edited_weight, require_shape
from errata.errors import ModelError
from errata.export.archive import ArchivedFile, read_pieces
from errata.export.tensor_bytes import StoredTensor, pieces_of, stored_tensors
from errata.model.editable import EditableModel

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def merged(model: EditableModel, deltas: Mapping[int, Delta]) -> list[ArchivedFile]:
    """Return the files of a Hugging Face folder with the edited model: all files of the base's, its shards included.

    Each edited matrix is the stored one plus its update, summed in float32 and rounded to the stored number type, which
    need not be the one that the model is loaded in.

    Raises:
        ModelError: the model has no folder, a shard cannot be read, or an edited matrix is not found exactly once as
            float32, float16 or bfloat16.
        CorruptArtifact: an update is not of its matrix's shape.
    """
    if model.folder is None:
        raise ModelError(f"{model.name} was made in memory: there are no files of a checkpoint to put an update into")
    paths = sorted({path for pattern in CHECKPOINT_FILES for path in model.folder.glob(pattern)})
    edits = _located(model, deltas, [path for path in paths if path.suffix == ".safetensors"])
    return [_file(path, edits.get(path, [])) for path in paths]


@dataclass(frozen=True, slots=True)
class _Edit:
    """An update, and the stored matrix that it is added to."""

    layer: int
    delta: Delta
    stored: StoredTensor
    transposed: bool

    def read(self, file: BufferedReader) -> Tensor:
        """Return the edited matrix in its stored form. The file must be positioned where the base's matrix begins."""
        content = bytearray(self.stored.num_bytes)
        if file.readinto(content) != len(content):
            raise ModelError(f"{self.stored.name} is no longer there as a whole; the checkpoint changed meanwhile")
        stored = torch.frombuffer(content, dtype=DTYPES[self.stored.dtype]).view(self.stored.shape)
        matrix = stored.T if self.transposed else stored
        edited_weight(self.layer, matrix, self.delta, out=matrix)
        return stored


def _located(model: EditableModel, deltas: Mapping[int, Delta], shards: Sequence[Path]) -> dict[Path, list[_Edit]]:
    """Return the edits of each shard that has any, in the order in which their matrices lie there."""
    architecture = model.architecture
    layers = {}
    for layer in deltas:
        name = f"{architecture.down_projection_of(layer)}.weight"
        layers[name] = layers[name.partition(".")[2]] = layer  # the hub's GPT-2 has the latter
    found: dict[int, list[tuple[Path, StoredTensor]]] = {layer: [] for layer in deltas}
    for shard in shards:
        for stored in stored_tensors(shard):
            if stored.name in layers:
                found[layers[stored.name]].append((shard, stored))
    edits: dict[Path, list[_Edit]] = defaultdict(list)
    for layer, places in found.items():
        if len(places) != 1:
            name = f"{architecture.down_projection_of(layer)}.weight"
            raise ModelError(f"the checkpoint of {model.name} has {name} {len(places)} times; it must be there once")
        [(shard, stored)] = places
        if stored.dtype not in DTYPES:
            raise ModelError(f"{stored.name} is stored as {stored.dtype}; an update needs {', '.join(DTYPES)}")
        require_shape(layer, deltas[layer], stored.shape[::-1] if architecture.transposed else stored.shape)
        edits[shard].append(_Edit(layer, deltas[layer], stored, architecture.transposed))
    return {shard: sorted(those, key=lambda edit: edit.stored.start) for shard, those in edits.items()}


def _file(path: Path, edits: list[_Edit]) -> ArchivedFile:
    whole = ArchivedFile.of_path(path.name, path)
    return ArchivedFile(path.name, whole.size, partial(_edited_shard, path, whole.size, edits)) if edits else whole


def _edited_shard(path: Path, size: int, edits: Sequence[_Edit]) -> Iterator[bytes]:
    """Yield the shard's bytes, with the edited matrices in place."""
    position = 0
    with path.open("rb") as file:
        for edit in edits:
            yield from read_pieces(file, edit.stored.start - position)
            yield from pieces_of(edit.read(file))
            position = edit.stored.start + edit.stored.num_bytes
        yield from read_pieces(file, size - position)
