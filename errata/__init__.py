"""Errata's library: what an edit is, how it is computed and measured. Usable from a notebook, without any service.

The names below are imported when they are first asked for, so that `import errata` loads no PyTorch.
"""

import sys
from importlib import import_module
from typing import Any

from errata.moved import MovedModules

_MODULES = {
    "AlphaEditHyperparameters": "errata.hyperparameters",
    "BuildStore": "errata.targets.store",
    "Delta": "errata.deltas",
    "EditableModel": "errata.model",
    "EmmetHyperparameters": "errata.hyperparameters",
    "ErrataError": "errata.errors",
    "Fact": "errata.facts",
    "FactSet": "errata.facts",
    "FineTuningHyperparameters": "errata.hyperparameters",
    "METHODS": "errata.methods",
    "MemitHyperparameters": "errata.hyperparameters",
    "MendHyperparameters": "errata.hyperparameters",
    "Neighbor": "errata.facts",
    "RomeHyperparameters": "errata.hyperparameters",
    "SecondMoments": "errata.second_moments",
    "corpus_for": "errata.second_moments.corpora",
    "edited_weights": "errata.deltas",
    "greedy_answers": "errata.model.likelihood",
    "sequential_builds": "errata.methods.sequential",
}

sys.meta_path.append(MovedModules())


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'errata' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
