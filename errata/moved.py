"""Old names of modules that `docs/library.md` promised, importable for one more release."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

MOVED = {
    "errata.build_store": "errata.targets.store",
    "errata.corpus": "errata.second_moments.corpora",
    "errata.likelihood": "errata.model.likelihood",
    "errata.memit": "errata.methods.memit",
    "errata.sequential": "errata.methods.sequential",
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a module by its old name, warns, and gives the very module that has the new name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old, new = module.__name__, MOVED[module.__name__]
        # A stack level of 2 is the import itself: Python leaves out the frames of its import system.
        warnings.warn(f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)
