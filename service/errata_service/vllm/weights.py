"""Versions in the weights of a vLLM server, one at a time: for architectures without LoRA there, and for high ranks.

The server's own `errata_vllm.Gate` does it: see engines/vllm.
"""

from collections.abc import Iterable

from errata_client.records import BASE_VERSION
from errata_registry.registry import Registry
from errata_registry.versions.folder import DELTA

from errata_service.following import Swap
from errata_service.vllm.base import Base
from errata_service.vllm.server import InPlace, Unreachable, VllmServer


class Weights:
    """The weights of one server: an engine that can be followed with (`errata_service.following.Followed`)."""

    def __init__(self, server: VllmServer, registry: Registry, base: Base) -> None:
        self._server = server
        self._registry = registry
        self._base = base

    @property
    def active(self) -> int | None:
        """The version in place.

        None where it is another update than the one that this home has by that number, and until the server was found
        to serve this home's base model.
        """
        in_place = self._in_place()
        if in_place.base != self._base.digest:
            return None
        if in_place.version == BASE_VERSION:
            return BASE_VERSION
        there = in_place.version in self._registry.artifacts.numbers()
        return in_place.version if there and self._sha256(in_place.version) == in_place.sha256 else None

    def models(self) -> dict[int, str]:
        """Return what the server calls the version that it has."""
        return {self._in_place().version: self._server.models().base}

    def switch(self, version: int) -> Swap:
        """Put a version in place, once the requests that are being computed have ended. Raises `ErrataError`."""
        base = {"digest": self._base.digest, "values": self._base.values}
        of_base = {layer for layer, *_ in self._base.values}
        wanted: dict[str, object] = {"version": version, "base": base | self._places(of_base)}
        if version != BASE_VERSION:
            file = self._registry.artifacts.delta_file(version, self._base.digest)
            layers = [change.layer for change in self._registry.artifacts.existing(version).manifest.layers]
            wanted |= {"update": str(file.resolve()), "sha256": self._sha256(version), **self._places(layers)}
        times = self._server.put_in_place(wanted)
        return Swap(load_ms=times["load_ms"], swap_ms=times["drain_ms"] + times["swap_ms"])

    def tidy(self) -> None:
        """There is nothing to be loaded ahead or unloaded."""

    def _places(self, layers: Iterable[int]) -> dict[str, object]:
        """Return how the server finds the matrices of some layers."""
        architecture = self._base.architecture
        modules = {layer: f"{architecture.blocks}.{layer}.{architecture.down_projection}" for layer in layers}
        return {"modules": modules, "transposed": architecture.transposed}

    def _in_place(self) -> InPlace:
        if (in_place := self._server.in_place()) is None:
            raise Unreachable(f"{self._server.url} has no errata_vllm.Gate any more")
        return in_place

    def _sha256(self, version: int) -> str:
        return self._registry.artifacts.existing(version).manifest.files[DELTA].sha256
