"""The target cache: targets, and states at the subject in the unedited model, each under a name of all it depends on.

A fact that is asked for again costs no search, and a build that was killed continues from the targets that it had.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from errata.facts import Fact
from errata.files import tensors
from errata.hyperparameters import SEARCH_HYPERPARAMETERS, TargetHyperparameters
from errata.model import EditableModel
from errata.model.hidden_states import SubjectStates

SEARCH = 1  # version of the search; raise it with any change that finds other targets
STATES = 1  # version of the computation of keys and hidden states
NAME = "targets"  # of the tensor in its file; it dates from when only targets were kept

logger = logging.getLogger(__name__)


def target_key(
    model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str], hyperparameters: TargetHyperparameters
) -> str:
    """Return the name of the targets of `facts`, which are all facts about one subject: 64 hex digits."""
    values = {name: hyperparameters.as_dict()[name] for name in SEARCH_HYPERPARAMETERS}
    for added, without in (("boundary_factor", 0), ("stop_margin", None)):
        if values[added] == without:  # names that were given before there was one stay as they are
            del values[added]
    parts = {
        "search": SEARCH,
        "model": model.fingerprint,
        "layer": hyperparameters.target_layer,
        "hyperparameters": values,
        "contexts": list(contexts),
        "facts": [(fact.subject, fact.template, fact.object) for fact in facts],
    }
    if any(fact.joint != " " for fact in facts):  # a name that is given from the first with a space everywhere
        parts["joints"] = [fact.joint for fact in facts]
    if alone := [place for place, fact in enumerate(facts) if not fact.takes_context]:
        parts["alone"] = alone
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def states_key(model: EditableModel, fact: Fact, contexts: Sequence[str], key_layer: int, output_layer: int) -> str:
    """Name a fact's key at one layer and hidden state after another, in the model as it is: 64 hex digits."""
    parts = {
        "states": STATES,
        "model": model.fingerprint,
        "layers": [key_layer, output_layer],
        "contexts": list(contexts) if fact.takes_context else [],
        "prompt": (fact.subject, fact.template),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class BuildStore:
    """A folder of tensors, each in a small file. Any number of processes may read and write it."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = logger.warning) -> None:
        """The folder is made when the first tensor is saved. `tell` is told of each damaged file."""
        self._folder = folder
        self._tell = tell

    def load(self, key: str) -> Tensor | None:
        """Return the tensor saved under that name, float32; None if there is none or it is damaged."""
        file = self._file(key)
        try:
            if tensors.checksum_fits(file):
                with safe_open(file, framework="pt") as stored:
                    tensor: Tensor = stored.get_tensor(NAME)
                with suppress(OSError):
                    os.utime(file)  # `shrink` goes by it
                return tensor
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            pass
        self._tell(f"{file} is damaged; what it held is computed again")
        return None

    def save(self, key: str, tensor: Tensor) -> None:
        """Save a tensor under a name."""
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        # Not synced: what a crash of the machine takes or damages is computed again.
        tensors.store(file, {NAME: tensor.detach().float().contiguous()}, {}, synced=False)

    def shrink(self, max_bytes: int) -> None:
        """Remove files until those that stay have `max_bytes`, the one that was not used for the longest time first."""
        states = []
        for path in self._folder.glob("*/*.safetensors"):
            with suppress(FileNotFoundError):
                states.append((path.stat().st_mtime, path.stat().st_size, path))
        excess = sum(size for _, size, _ in states) - max_bytes
        for _, size, path in sorted(states):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"


def base_states(states: SubjectStates, key_layer: int, output_layer: int, store: BuildStore) -> tuple[Tensor, Tensor]:
    """Return what the first `states.read` gives of the unedited model; read only what `store` does not hold.

    The first edited layer is written from them. If the store holds all facts, or all but a few, `states` stays before
    block 0.
    """
    model, facts, contexts = states.model, states.facts, states.contexts
    names = [states_key(model, fact, contexts, key_layer, output_layer) for fact in facts]
    kept = [store.load(name) for name in names]
    missing = [place for place, of_fact in enumerate(kept) if of_fact is None]
    if missing:
        of_missing = states
        if len(missing) < len(facts):
            of_missing = SubjectStates(model, [facts[place] for place in missing], contexts)
        read = torch.cat(of_missing.read(key_layer, output_layer), dim=1).cpu()
        for place, of_fact in zip(missing, read, strict=True):
            store.save(names[place], of_fact)
            kept[place] = of_fact
    found = torch.stack([of_fact for of_fact in kept if of_fact is not None]).to(model.weight(key_layer).device)
    d_in = model.weight(key_layer).shape[1]
    return found[:, :d_in], found[:, d_in:]
