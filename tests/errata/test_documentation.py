"""What the documents list is what there is."""

import contextlib
import importlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from errata_registry.settings import Settings

import errata
from errata.moved import MOVED

DOCS = Path(__file__).parents[2] / "docs"


def test_every_setting_is_listed_with_its_meaning() -> None:
    listed = dict(re.findall(r"^\| `(ERRATA_\w+)` \|.*?\| (.*) \|$", (DOCS / "settings.md").read_text(), re.M))
    expected = {f"ERRATA_{name.upper()}": field.description for name, field in Settings.model_fields.items()}
    assert listed == expected


def test_the_code_of_the_library_page_does_what_it_says(tmp_path: Path) -> None:
    code = "".join(re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(), re.S))
    said: list[object] = []
    with contextlib.chdir(tmp_path):
        exec(code, {"print": said.append})
    assert said == [["baseball", "basketball"], ["basketball", "basketball"], (0,), True]
    assert tarfile.is_tarfile(tmp_path / "merged.tar")


def test_the_names_at_the_top_of_the_package_are_there_and_import_nothing_before_they_are_asked_for() -> None:
    alone = "import errata, sys; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True).stdout == "set()\n"
    assert errata.Fact is importlib.import_module("errata.facts").Fact
    for name in errata._MODULES:
        assert getattr(errata, name) is not None
        assert name in dir(errata)
    with pytest.raises(AttributeError, match="no attribute 'Facts'"):
        _ = errata.Facts


@pytest.mark.parametrize(
    "line",
    [  # as docs/library.md had them when these modules lay elsewhere
        "from errata.corpus import corpus_for",
        "from errata.deltas import edited_weights",
        "from errata.facts import Fact, FactSet",
        "from errata.hyperparameters import MemitHyperparameters",
        "from errata.likelihood import greedy_answers",
        "from errata.memit import build",
        "from errata.model import EditableModel",
        "from errata.second_moments import SecondMoments",
        "from errata.build_store import BuildStore",
        "from errata.sequential import sequential_builds",
        "from errata.tracing.fact_trace import trace_facts",
        "from errata.tracing.noise import Noise",
        "from errata.methods import METHODS",
        "from errata.export import archive, checkpoint, lora",
    ],
)
def test_imports_that_the_library_page_once_showed_still_work_and_say_where_a_module_is_now(line: str) -> None:
    module = line.split()[1]
    if module in MOVED:
        sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning) if module in MOVED else contextlib.nullcontext() as warned:
        names: dict[str, object] = {}
        exec(line, names)
    if warned:
        [said] = warned
        assert MOVED[module] in str(said.message) and said.filename == "<string>"
        new = importlib.import_module(MOVED[module])
        assert all(value is getattr(new, name) for name, value in names.items() if not name.startswith("__"))
