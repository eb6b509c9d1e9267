"""Imports point one way: no cycles, and each package uses only what lies below it.

Every import counts, also one inside of a function or under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "errata": "errata",
    "errata_client": "clients/python/src/errata_client",
    "errata_registry": "registry/errata_registry",
    "errata_service": "service/errata_service",
    "errata_worker": "worker/errata_worker",
    "errata_cli": "cli/errata_cli",
}
MAY_USE: Mapping[str, set[str]] = {  # the command line starts service and worker as processes
    "errata": set(),
    "errata_client": set(),
    "errata_registry": {"errata", "errata_client"},
    "errata_service": {"errata", "errata_client", "errata_registry"},
    "errata_worker": {"errata", "errata_client", "errata_registry"},
    "errata_cli": {"errata", "errata_client", "errata_registry"},
}
THIRD_PARTIES_OF_THE_LIBRARY = {"torch", "transformers", "safetensors", "huggingface_hub", "numpy"}
ALLOWED_BESIDE = {  # module of the library -> what it alone may use
    "errata.figures": {"matplotlib"},
    "errata.tracing.plots": {"matplotlib"},
    "errata.comparison.plots": {"matplotlib"},
    "errata.demo.train": {"tokenizers"},
}
ORDER = [  # of what lies in errata/: each uses only what stands before it
    *("errors", "facts", "well_known", "files", "hyperparameters", "checkpoint"),
    *("model", "wordings", "deltas", "second_moments", "targets", "methods"),
    *("export", "evaluation", "figures", "tracing", "comparison", "tuning", "demo"),
]


@dataclass(frozen=True)
class Import:
    """An import of a module, or of something in it, and where it stands."""

    importer: str
    imported: str
    place: str

    @property
    def top(self) -> str:
        return self.imported.split(".")[0]


def _modules() -> dict[str, Path]:
    modules = {}
    for package, folder in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            path = file.relative_to(ROOT / folder).with_suffix("")
            parts = [part for part in path.parts if part != "__init__"]
            modules[".".join([package, *parts])] = file
    return modules


MODULES = _modules()


def _imports_of(module: str, file: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{file}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            # A name that is no module of the house is something in one.
            is_inside = name not in MODULES and isinstance(node, ast.ImportFrom)
            imported = name.rpartition(".")[0] if is_inside else name
            yield Import(module, imported, f"{file.relative_to(ROOT)}:{node.lineno}")


IMPORTS = [one for module, file in sorted(MODULES.items()) for one in _imports_of(module, file)]


def _part(module: str) -> str:
    """The package or module of errata/ that a module belongs to, as ORDER names it; its own name for the top."""
    return module.split(".")[1] if "." in module else module


def _report(faults: list[Import], why: str) -> str:
    return "\n".join(f"{one.place}: {one.importer} imports {one.imported}, {why}" for one in faults)


@pytest.mark.parametrize("package", FOLDERS)
def test_there_are_no_import_cycles(package: str) -> None:
    graph: dict[str, set[str]] = {}
    for one in IMPORTS:
        if one.importer.split(".")[0] == package and one.imported in MODULES:
            graph.setdefault(one.importer, set()).add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1]
        steps = {(later, earlier) for earlier, later in itertools.pairwise(cycle)}
        pytest.fail(_report([one for one in IMPORTS if (one.importer, one.imported) in steps], "in a cycle"))


def test_each_package_uses_only_those_below_it() -> None:
    faults = [
        one
        for one in IMPORTS
        if (user := one.importer.split(".")[0]) != one.top and one.top in FOLDERS and one.top not in MAY_USE[user]
    ]
    assert not faults, _report(faults, "which does not lie below it")


def test_the_library_uses_few_packages_of_others() -> None:
    faults = [
        one
        for one in IMPORTS
        if one.importer.split(".")[0] == "errata"
        and one.top not in FOLDERS
        and one.top not in sys.stdlib_module_names
        and one.top not in THIRD_PARTIES_OF_THE_LIBRARY | ALLOWED_BESIDE.get(one.importer, set())
    ]
    assert not faults, _report(faults, "which the library does not use there")


def test_the_packages_of_the_library_use_only_those_before_them() -> None:
    parts = {_part(module) for module in MODULES if module.startswith("errata.")} - {"moved"}
    assert parts == set(ORDER), "ORDER must name what lies in errata/"
    faults = [
        one
        for one in IMPORTS
        if (user := _part(one.importer)) in parts
        and one.importer.startswith("errata.")
        and (one.imported == "errata" or (one.top == "errata" and ORDER.index(_part(one.imported)) > ORDER.index(user)))
    ]
    assert not faults, _report(faults, "which comes later in ORDER")


def test_each_import_counts_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "example.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from errata.model import EditableModel\n"
        "def later() -> None:\n    from errata.files import durable\n    import errata_registry.keys\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert [(one.imported, one.place) for one in _imports_of("example", file)] == [
        ("typing", "example.py:1"),
        ("errata.model", "example.py:3"),
        ("errata.files.durable", "example.py:5"),
        ("errata_registry.keys", "example.py:6"),
    ]
