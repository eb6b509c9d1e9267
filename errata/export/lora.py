"""A version as a PEFT adapter (LoRA) for its base model: the adapter's factors are the update itself."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from errata.checkpoint.architectures import Architecture
from errata.deltas import Delta, require_shape
from errata.export.archive import ArchivedFile
from errata.export.tensor_bytes import float32_header, float32_size, pieces_of

HUB_CACHE = "models--"  # as the folder of a model in the hub's cache begins: `models--<owner>--<name>`


class Base(Protocol):
    """What an adapter must know of its base model, whose weights need not be loaded. An `EditableModel` is one."""

    name: str
    folder: Path | None
    architecture: Architecture

    @property
    def matrix_shapes(self) -> tuple[tuple[int, int], ...]:
        """The shape of the matrix of each block that an edit may change, (d_model, d_in)."""
        ...


def adapter(model: Base, deltas: Mapping[int, Delta]) -> list[ArchivedFile]:
    """Return the two files of an adapter that adds `deltas` to the model's weights, exactly; factors are float32.

    PEFT reads it for every architecture, vLLM for those that it serves with LoRA. All layers have the rank of the
    largest: the number of facts, or for an update stored dense, which has no smaller exact factors, the smaller side
    of the matrix.

    An update of no layer at all, that of a version without facts, becomes an adapter of rank 1 that adds zero to block
    0 (an adapter must name some layer): who fetches each version that is made active needs no case for the empty one.

    Raises:
        CorruptArtifact: an update is not of its matrix's shape.
    """
    deltas = dict(sorted(deltas.items())) or {0: _nothing(model)}
    matrices = model.matrix_shapes
    for layer, delta in deltas.items():
        require_shape(layer, delta, matrices[layer])
    rank = max(_factors(delta)[0].shape[1] for delta in deltas.values())
    modules = {layer: model.architecture.down_projection_of(layer) for layer in deltas}
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, delta in deltas.items():
        d_model, d_in = delta.shape
        shapes[f"base_model.model.{modules[layer]}.lora_A.weight"] = (rank, d_in)
        shapes[f"base_model.model.{modules[layer]}.lora_B.weight"] = (d_model, rank)
    header = float32_header(shapes)
    size = len(header) + sum(float32_size(shape) for shape in shapes.values())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": _findable(model),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,  # PEFT multiplies by lora_alpha / r
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": model.architecture.transposed,
        "target_modules": list(modules.values()),
    }
    return [
        ArchivedFile.of_bytes("adapter_config.json", json.dumps(config, indent=2).encode()),
        ArchivedFile("adapter_model.safetensors", size, partial(_adapter_model, header, list(deltas.values()), rank)),
    ]


def _findable(model: Base) -> str:
    """Return what anybody finds the base by: its name on the hub, also where it was named as the folder in which the
    hub's cache keeps it; else its folder."""
    if model.folder is None:
        return model.name
    folder = model.folder.resolve()
    kept_as = next((part for part in folder.parts if part.startswith(HUB_CACHE)), None)
    return str(folder) if kept_as is None else kept_as.removeprefix(HUB_CACHE).replace("--", "/", 1)


def _adapter_model(header: bytes, deltas: list[Delta], rank: int) -> Iterator[bytes]:
    yield header
    for delta in deltas:
        left, right = _factors(delta)
        missing = rank - left.shape[1]
        yield from pieces_of(pad(right, (0, 0, 0, missing)) if missing else right)
        yield from pieces_of(pad(left, (0, missing)) if missing else left)


def _factors(delta: Delta) -> tuple[Tensor, Tensor]:
    """Return factors (d_model, r) and (r, d_in) whose product is the update."""
    if delta.right is not None:
        return delta.left, delta.right
    d_model, d_in = delta.shape
    return (torch.eye(d_model), delta.left) if d_model <= d_in else (delta.left, torch.eye(d_in))


def _nothing(model: Base) -> Delta:
    d_model, d_in = model.matrix_shapes[0]
    return Delta(torch.zeros(d_model, 1), torch.zeros(1, d_in), rank=1)
