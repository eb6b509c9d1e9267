"""The matrices that a version edits, in a worker of vLLM: the base's are kept, a version's prepared and put in place.

A worker holds a shard of each matrix (tensor parallelism), or the matrices of some layers alone (pipeline parallelism).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn import Module, Parameter

BASE_VERSION = 0
ROWS_AT_ONCE = 256
UNQUANTIZED = "UnquantizedLinearMethod"


class EditedMatrices:
    """The extension of a worker (`--worker-extension-cls`). Its methods are called in all workers at once."""

    def errata_values(self, places: str, modules: str, transposed: bool) -> str:
        """Look up what the base's matrices have at some places.

        Args:
            places: `[[layer, row, column], …]`, as JSON.

        Returns `[[layer, row, column, value], …]` of those that are in this worker's shards, as JSON.
        """
        edits = self.__dict__.setdefault("_errata_edits", _Edits(self))
        return json.dumps(edits.values(json.loads(places), json.loads(modules), transposed))

    def errata_prepare(self, version: int, update: str, sha256: str, modules: str, transposed: bool) -> str:
        """Compute a version's matrices beside those that serve.

        Args:
            update: path of the version's update as Errata stores it: `<layer>.left` and `.right`, or `<layer>.dense`.
            sha256: what the file must have; nothing else is taken.
            modules: the end of each layer's module name, as JSON: `{"3": "h.3.mlp.fc_out"}`.
            transposed: whether the checkpoint stores the matrices as (d_in, d_model).

        Returns the layers that this worker has, as JSON.
        """
        edits = self.__dict__.setdefault("_errata_edits", _Edits(self))
        layers: list[int] = edits.prepare(version, _read(Path(update), sha256), json.loads(modules), transposed)
        return json.dumps(layers)

    def errata_put_in_place(self, version: int) -> None:
        """Let what was prepared serve, or the base. Nothing may be computed meanwhile."""
        edits = self.__dict__.setdefault("_errata_edits", _Edits(self))
        edits.put_in_place(version)


def _read(path: Path, sha256: str) -> dict[int, dict[str, Tensor]]:
    """Return the parts of each layer's update. Raises `ValueError`."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path} is not the update that was asked for: it has another checksum")
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load(content).items():
        layer, _, part = name.partition(".")
        parts.setdefault(int(layer), {})[part] = tensor
    return parts


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The matrix of one layer: its module, and this worker's shard of the base's, on the CPU."""

    module: Any
    base: Tensor

    def edited(self, update: Mapping[str, Tensor]) -> Tensor:
        """Return the shard with an update, summed in float32 and rounded once, as Errata's own engine does."""
        device = (self.module.weight if self.module.bias is None else self.module.bias).device
        right = None if "dense" in update else _shard(self.module, update["right"]).to(device)
        left = (_shard(self.module, update["dense"]) if right is None else update["left"]).to(device)
        edited = torch.empty_like(self.base)
        for first in range(0, len(edited), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            part = self.base[rows].to(device).float()
            edited[rows] = part + left[rows] if right is None else torch.addmm(part, left[rows], right)
        return edited

    def at(self, row: int, column: int) -> float | None:
        """Return the base's value at a place of the whole matrix; None where it is not in this shard."""
        columns = _shard(self.module, torch.arange(self.module.input_size, dtype=torch.float32)[None])[0]
        here = (columns == column).nonzero()
        return float(self.base[row, here[0, 0]]) if row < len(self.base) and len(here) else None

    def put(self, shard: Tensor) -> None:
        """Let the module compute with a shard."""
        if self.module.weight.numel():
            self.module.weight.data.copy_(shard)  # in its place, which captured graphs go on reading
        else:  # on a CPU, the module computes with a packed copy, and keeps no other
            self.module.weight = Parameter(shard.clone(), requires_grad=False)
            self.module.quant_method.process_weights_after_loading(self.module)


class _Edits:
    """The edited matrices of one worker."""

    def __init__(self, worker: Any) -> None:
        self._config = worker.vllm_config
        self._model: Module = worker.model_runner.get_model()
        self._matrices: dict[int, _Matrix] = {}
        self._in_place: set[int] = set()  # layers that are not the base's now
        self._prepared: tuple[int, dict[int, Tensor]] = (BASE_VERSION, {})

    @torch.inference_mode()
    def values(
        self, places: list[tuple[int, int, int]], modules: Mapping[str, str], transposed: bool
    ) -> list[tuple[int, int, int, float]]:
        here = self._find({layer for layer, _, _ in places}, modules, transposed)
        return [
            (layer, row, column, value)
            for layer, row, column in places
            if layer in here and (value := self._matrices[layer].at(row, column)) is not None
        ]

    @torch.inference_mode()
    def prepare(
        self, version: int, updates: Mapping[int, Mapping[str, Tensor]], modules: Mapping[str, str], transposed: bool
    ) -> list[int]:
        self._prepared = (BASE_VERSION, {})  # make room first
        found = self._find(updates, modules, transposed)
        self._prepared = (version, {layer: self._matrices[layer].edited(updates[layer]) for layer in found})
        return found

    @torch.inference_mode()
    def put_in_place(self, version: int) -> None:
        prepared, shards = self._prepared
        if version not in (BASE_VERSION, prepared):
            raise ValueError(f"version {version} is not prepared")
        if version == BASE_VERSION:
            shards = {}
        for layer in self._in_place - shards.keys():
            self._matrices[layer].put(self._matrices[layer].base)
        self._in_place |= shards.keys()  # first, so that the base comes back whole where a put fails halfway
        for layer, shard in shards.items():
            self._matrices[layer].put(shard)
        self._in_place = set(shards)
        self._prepared = (BASE_VERSION, {})

    def _find(self, layers: Collection[int], modules: Mapping[str, str], transposed: bool) -> list[int]:
        """Return which of some layers this worker has; the base's matrices of these are kept from now on."""
        found = {at: module for at in sorted(layers) if (module := self._module(modules[str(at)])) is not None}
        if unknown := {layer: module for layer, module in found.items() if layer not in self._matrices}:
            self._keep_base(unknown, modules, transposed)
        return list(found)

    def _module(self, ending: str) -> Any:
        """Return the module whose name ends so; None where another worker has it."""
        named = [(name, module) for name, module in self._model.named_modules() if f".{name}".endswith(f".{ending}")]
        if len(named) > 1:
            raise ValueError(f"several modules are called {ending}: {', '.join(name for name, _ in named)}")
        if not named or not hasattr(named[0][1], "quant_method"):  # a layer of another worker's is a placeholder
            return None
        name, module = named[0]
        if (method := type(module.quant_method).__name__) != UNQUANTIZED:
            raise ValueError(f"{name} is quantized ({method}); only weights as they are can be edited")
        return module

    def _keep_base(self, found: Mapping[int, Any], modules: Mapping[str, str], transposed: bool) -> None:
        packed = {}
        for layer, module in found.items():
            if module.weight.numel():
                self._matrices[layer] = _Matrix(module, module.weight.detach().to("cpu", copy=True))
            else:
                packed[modules[str(layer)]] = layer
        if packed:
            self._require_eager()
            for layer, base in self._stored(packed, transposed):
                module = found[layer]
                self._matrices[layer] = _Matrix(module, _shard(module, base, module.params_dtype))
        if missing := found.keys() - self._matrices.keys():
            raise ValueError(f"the checkpoint has no matrix for the layers {sorted(missing)}")

    def _stored(self, packed: Mapping[str, int], transposed: bool) -> Any:
        """Yield the base's matrices, whole, from the checkpoint that the server was started with."""
        from vllm.model_executor.model_loader import get_model_loader

        loader = get_model_loader(self._config.load_config)
        ending = re.compile(rf"(?:^|\.)({'|'.join(map(re.escape, packed))})\.weight")
        for name, tensor in loader.get_all_weights(self._config.model_config, self._model):
            if at := ending.search(name):
                yield packed[at[1]], tensor.T if transposed else tensor

    def _require_eager(self) -> None:
        if not self._config.model_config.enforce_eager:
            raise ValueError("on a CPU, compiled graphs keep the packed weights: start vLLM with --enforce-eager")


def _shard(module: Any, matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return this worker's part of a matrix (rows, d_in), as the module's own loader cuts it."""
    width = getattr(module, "input_size_per_partition", module.input_size)
    shard = Parameter(torch.empty(len(matrix), width, dtype=dtype, device="cpu"), requires_grad=False)
    shard.input_dim = 1  # type: ignore[attr-defined]  # what the loader cuts along
    module.weight_loader(shard, matrix)
    return shard.data
