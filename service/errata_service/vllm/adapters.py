"""Versions as LoRA adapters of a vLLM server. Each has a name that no other update ever has; several are there at once.

The adapters lie in the home folder, where the server reads them: `adapters/<server>/errata-17-3f2a9c01/`. They are made
from the versions' updates and can be made again.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from errata_client.records import BASE_VERSION
from errata_registry.registry import Registry
from errata_registry.stored import StoredFile
from errata_registry.versions.folder import DELTA

from errata.errors import CorruptArtifact, ErrataError
from errata.export import lora
from errata.export.archive import ArchivedFile
from errata.files import durable
from errata.files.checksums import checked, with_checksum
from errata_service.following import Swap
from errata_service.vllm.base import Base
from errata_service.vllm.server import Models, Unreachable, VllmServer

CHECKSUMS = "checksums.json"  # in an adapter's folder: what each other file must be
OURS = re.compile(r"errata-(\d+)-[0-9a-f]{8}")

log = logging.getLogger(__name__)


class Adapters:
    """The adapters of one server: an engine that can be followed with (`errata_service.following.Followed`).

    The active version and those that it may change to next (the one that a rollback would go to, and those that have a
    name) are loaded ahead. Others are unloaded once no request uses them.
    """

    def __init__(self, server: VllmServer, registry: Registry, base: Base) -> None:
        self._server = server
        self._registry = registry
        self._base = base
        self._folder = registry.settings.home / "adapters" / hashlib.sha256(server.url.encode()).hexdigest()[:12]
        self._active: int | None = None
        self._lock = threading.Lock()  # one changes the adapters at a time

    @property
    def active(self) -> int | None:
        """The version of requests that name none; None while the server does not have it, as after its restart."""
        there = self.models()
        return self._active if self._active in there else None

    def models(self) -> dict[int, str]:
        """Return what the server calls each version that it has."""
        there = self._there()
        current = (name for name in there.adapters if OURS.fullmatch(name) and self._is_current(name))
        named = {int(name.split("-")[1]): name for name in current}
        return {BASE_VERSION: there.base, **dict(sorted(named.items()))}

    def switch(self, version: int) -> Swap:
        """Load a version's adapter, unless it is there, and make it the active one. Raises `ErrataError`."""
        began = time.perf_counter()
        with self._lock:
            self._load(version)
            loaded = time.perf_counter()
            self._active = version
        return Swap(load_ms=1000 * (loaded - began), swap_ms=1000 * (time.perf_counter() - loaded))

    def tidy(self) -> None:
        """Load ahead what may become active next, and unload what nothing uses any more."""
        self._folder.mkdir(parents=True, exist_ok=True)
        os.utime(self._folder)  # it is in use: see `errata_registry.leftovers`
        with self._lock:
            wanted = self._wanted()
            for version in wanted:
                try:
                    self._load(version)
                except ErrataError as error:
                    log.debug("version %d is not loaded ahead: %s", version, error)
            names = {self._name(version) for version in wanted if version != BASE_VERSION}
            there = self._there().adapters
            in_use = self._server.adapters_in_use()
            for name in sorted(there - names - in_use):
                if OURS.fullmatch(name):
                    log.info("unloading %s", name)
                    self._server.unload_adapter(name)
            # Requests that came before an adapter was unloaded may still read its files.
            for folder in self._folder.glob("errata-*"):
                if folder.name not in names | there | in_use:
                    shutil.rmtree(folder, ignore_errors=True)

    def _there(self) -> Models:
        """Return what the server has. Raises `Unreachable` where its model is not this home's by name."""
        there = self._server.models()
        names = (self._base.name, self._registry.settings.model)
        if there.root.rstrip("/") not in [name.rstrip("/") for name in names]:
            raise Unreachable(
                f"{self._server.url} serves {there.root}, and the base model here is {self._base.name}; "
                f"where they are the same, start the follower with ERRATA_MODEL={there.root}"
            )
        return there

    def _wanted(self) -> list[int]:
        active = self._registry.activations.active()
        served = [] if self._active is None else [self._active]
        before = self._registry.activations.before_active()[-1:]
        named = sorted(self._registry.aliases.all().values())
        there = set(self._registry.artifacts.numbers())
        return [number for number in dict.fromkeys([active, *served, *before, *named]) if number in there]

    def _load(self, version: int) -> None:
        if version == BASE_VERSION:
            return
        name = self._name(version)
        there = self._there().adapters
        # What vLLM has loaded it reads again where its cache had no room for it, and ends where the files are gone, as
        # they are once this follower was away for a day.
        if name not in there or not (self._folder / name).is_dir():
            folder = self._written(version, name)
            if name not in there:
                self._server.load_adapter(name, str(folder))

    def _name(self, version: int) -> str:
        """Return a name that tells the update: weights that were built again may differ from those before."""
        return f"errata-{version}-{self._digest(version)[:8]}"

    def _digest(self, version: int) -> str:
        return self._registry.artifacts.existing(version).manifest.files[DELTA].sha256

    def _is_current(self, name: str) -> bool:
        try:
            return self._name(int(name.split("-")[1])) == name
        except ErrataError:  # it was deleted
            return False

    def _written(self, version: int, name: str) -> Path:
        """Return the folder of a version's adapter, which is made where it is missing or damaged."""
        folder = self._folder / name
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            deltas = self._registry.versions.load_deltas(version, self._base.digest)
            draft = self._folder / f".{name}"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            _write(draft, lora.adapter(self._base, deltas))
            draft.rename(folder)
            durable.sync(self._folder)
        return folder


def _write(folder: Path, files: list[ArchivedFile]) -> None:
    """Write files and a record of their checksums, and wait until all is on the disk."""
    record: dict[str, Any] = {}
    for file in files:
        path = folder / file.name
        with path.open("wb") as written:
            written.writelines(file.pieces())
        record[file.name] = StoredFile.synced(path).model_dump()
    durable.write(folder / CHECKSUMS, with_checksum(json.dumps(record)))


def _is_whole(folder: Path) -> bool:
    """Return True if the folder is there and its files are as they were written."""
    try:
        record = json.loads(checked((folder / CHECKSUMS).read_bytes()))
        for name, stored in record.items():
            StoredFile.model_validate(stored).require(folder / name, folder.name)
        return True
    except (OSError, ValueError, CorruptArtifact):
        return False
