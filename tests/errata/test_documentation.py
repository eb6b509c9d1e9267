"""What the documents list is what there is."""

from __future__ import annotations

import contextlib
import re
import tarfile
from pathlib import Path

from errata_registry.settings import Settings

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
