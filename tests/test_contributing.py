"""What CONTRIBUTING.md says of the house is true of it: its files are there, and so are the functions that it names."""

import re
from pathlib import Path

HOUSE = Path(__file__).parents[1]
TEXT = (HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATH = re.compile(r"(?<![\w./-])((?:[\w.-]+/)+[\w.-]+\.(?:py|md|json|yml)|(?:[a-z]\w*/){2,})(?::(\w+))?")
INSIDE = ("jobs/", "versions/", "serving/")  # of the registry, where the line has said so


def test_the_files_and_functions_that_the_map_names_are_there() -> None:
    named = PATH.findall(TEXT)
    assert len(named) > 70
    missing = []
    for path, function in named:
        file = HOUSE / (f"registry/errata_registry/{path}" if path.startswith(INSIDE) else path)
        if not file.exists():
            missing.append(path)
        elif function and not re.search(rf"\b(?:def|class) {function}\b", file.read_text(encoding="utf-8")):
            missing.append(f"{path}:{function}")
    assert missing == []
