"""What the pages name is there: files, modules that are run, and the places that links lead to."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), ROOT / "clients/python/README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = "errata|tests|benchmarks|registry|service|worker|cli|clients|docs|docker|examples"
PATH = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./*-]*[\w/*])(?![\w{{<])")
MODULE = re.compile(r"python -m (benchmarks[\w.]*)")
LINK = re.compile(r"```.*?```|\]\((?P<file>[\w./-]*)(?P<anchor>#[\w-]+)?\)", re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_the_files_and_modules_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    modules = [f"{module.replace('.', '/')}*" for module in MODULE.findall(text)]  # a module or a package
    assert [path for path in [*PATH.findall(text), *modules] if not any(ROOT.glob(path.rstrip("/")))] == []


@every_page
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        if link["file"] is not None:
            file = (page.parent / link["file"]).resolve() if link["file"] else page
            if not file.exists() or (link["anchor"] and link["anchor"][1:] not in anchors_of(file)):
                lost.append(link[0])
    assert lost == []


def anchors_of(page: Path) -> set[str]:
    """The anchors that its headings have, in the repository's view and in the site."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
