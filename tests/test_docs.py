"""What the pages name is there: files, modules that are run, commands, and the places that links lead to."""

import argparse
import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer
from errata_cli.main import app
from errata_client.cli import NOUNS, SHORTS
from errata_client.commands.parser import parser_of
from errata_client.commands.spelling import spelled

ROOT = Path(__file__).parents[1]
PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), ROOT / "clients/python/README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = "errata|tests|benchmarks|registry|service|worker|cli|clients|docs|docker|kubernetes|monitoring|examples"
PATH = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./*-]*[\w/*])(?![\w{{<])")
MODULE = re.compile(r"python -m (benchmarks[\w.]*)")
LINK = re.compile(r"```.*?```|\]\((?P<file>[\w./-]*)(?P<anchor>#[\w-]+)?\)", re.DOTALL)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHELLS = ("", "sh", "bash")
COMMAND = re.compile(r"^ *(?:\w+=\S+ )*(?:\.venv/bin/)?(errata|errata-client) (.+)$", re.MULTILINE)

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


@every_page
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    fenced = FENCED.findall(page.read_text(encoding="utf-8"))
    typed = "\n".join(text for language, text in fenced if language in SHELLS).replace("\\\n", " ")
    for program, line in COMMAND.findall(re.sub(r"\$\w+", "1", typed)):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
        lexer.whitespace_split = True
        arguments = list(itertools.takewhile(lambda word: not set(word) <= set("|>&;"), lexer))
        understand(program, arguments)


def understand(program: str, arguments: list[str]) -> None:
    """Read a command line as the program does; SystemExit or a usage error where it would not."""
    if program == "errata-client":
        spelling = spelled(arguments, NOUNS, SHORTS)
        assert not (spelling.mistake or spelling.hint)
        parser_of(NOUNS, SHORTS, argparse.Action).parse_args(spelling.arguments)
        return
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    with group.make_context("errata", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, arguments)
        assert command is not None
        command.make_context(name, rest, parent=context)


def anchors_of(page: Path) -> set[str]:
    """The anchors that its headings have, in the repository's view and in the site."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
