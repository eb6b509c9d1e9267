"""Targets that were found before, kept under a name made of everything that they depend on.

A fact that is asked for again costs no search, and a build that was killed goes on from the targets that it had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from errata import durable
from errata.facts import Fact
from errata.hyperparameters import SEARCH_HYPERPARAMETERS, TargetHyperparameters
from errata.model import EditableModel

SEARCH = 1
"""Number of the search as it is written now: to be raised when it would find other targets."""


def target_key(
    model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str], hyperparameters: TargetHyperparameters
) -> str:
    """Name of the targets of `facts`, which are all that is to be said of one subject: 64 hex digits."""
    values = hyperparameters.as_dict()
    parts = {
        "search": SEARCH,
        "model": model.fingerprint,
        "layer": hyperparameters.layers[-1],
        "hyperparameters": {name: values[name] for name in SEARCH_HYPERPARAMETERS},
        "contexts": list(contexts),
        "facts": [(fact.subject, fact.template, fact.object) for fact in facts],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class TargetStore:
    """A folder of targets, one small file for each subject. Any number of processes may read and write it."""

    def __init__(self, folder: Path) -> None:
        """The folder is made when the first targets are saved."""
        self._folder = folder

    def load(self, key: str) -> Tensor | None:
        """The targets of one subject's facts, (facts, d_model), float32; None where there are none that can be used."""
        try:
            with safe_open(self._file(key), framework="pt") as stored:
                targets: Tensor = stored.get_tensor("targets")
                intact = stored.metadata()["sha256"] == _sha256(targets)
        except (OSError, SafetensorError, KeyError, TypeError):
            return None
        return targets if intact else None

    def save(self, key: str, targets: Tensor) -> None:
        """Keep the targets of one subject's facts, (facts, d_model)."""
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = durable.scratch_beside(file)
        targets = targets.detach().float().cpu().contiguous()
        try:
            save_file({"targets": targets}, scratch, metadata={"sha256": _sha256(targets)})
            # Not synced: what a crash of the machine takes or damages is found again by a search.
            scratch.replace(file)
        except (OSError, SafetensorError):
            scratch.unlink(missing_ok=True)
            raise

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"


def _sha256(targets: Tensor) -> str:
    return hashlib.sha256(targets.numpy().tobytes()).hexdigest()
