"""A real Chromium before the whole of Errata: a service that asks for keys, a worker and Redis."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from errata_cli.processes import free_port
from errata_client import Errata
from errata_registry.api_keys import Scope, new_key
from errata_registry.settings import Settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from benchmarks.browser import NoBrowser, chromium
from errata.demo import MODEL_FOLDER
from tests.conftest import NewHome
from tests.preloaded import PreloadedStack

PATIENCE_MS = 60_000

Open = Callable[..., Page]


SCOPES = {"reader": [Scope.READ], "editor": [Scope.READ, Scope.EDIT], "chief": list(Scope)}


# A conversation is a text of the demo world, whose last message is gone on with.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.content | trim }}{% if not loop.last %}. {% endif %}{% endfor %}"
)


class Served:
    """A running stack, and keys of it by name: `reader`, `editor`, `chief`, who may read, edit and administer.

    Its model is the demo model, which can be talked with here.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        shutil.copytree(MODEL_FOLDER, folder / "model")
        told = json.loads((folder / "model" / "tokenizer_config.json").read_text())
        (folder / "model" / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": CHAT_TEMPLATE}))
        made = {name: new_key(name, scopes) for name, scopes in SCOPES.items()}
        self.keys = {name: key for name, (key, _) in made.items()}
        (folder / "keys").write_text("".join(f"{line}\n" for _, line in made.values()))
        self.settings = Settings(home=home, port=free_port(), keys_file=folder / "keys", model=str(folder / "model"))
        self.stack = PreloadedStack(self.settings)

    @property
    def url(self) -> str:
        """Where the service is."""
        return self.stack.url


@pytest.fixture(scope="module")
def served(new_home: NewHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everything that `errata up` starts, with keys."""
    served = Served(tmp_path_factory.mktemp("keys"), new_home())
    with served.stack:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Errata]:
    """A client that may do everything."""
    with Errata(served.url, api_key=served.keys["chief"]) as client:
        yield client


@pytest.fixture(scope="module", name="chromium")
def _chromium() -> Iterator[Browser]:
    """A browser without a window."""
    try:
        with chromium() as browser:
            yield browser
    except NoBrowser as missing:
        pytest.skip(str(missing))


@pytest.fixture
def open_console(served: Served, chromium: Browser) -> Iterator[Open]:
    """Opens the console in a browser of its own, at a place, with a key or without; at the end looks that nothing was
    asked of anybody else, and that the page found no fault with itself."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def note_request(url: str) -> None:
        if not url.startswith(("blob:", "data:")) and urlsplit(url).netloc != urlsplit(served.url).netloc:
            faults.append(f"asks {url}")

    def note_line(line: ConsoleMessage) -> None:
        # What the service refuses, the browser calls an error of the page's, too.
        if line.type == "error" and "Failed to load resource" not in line.text:
            faults.append(line.text)

    def open_at(place: str = "", *, by: str | None = "chief", dark: bool = False, width: int = 1280) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: note_request(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", note_line)
        if by is not None:
            page.add_init_script(f"sessionStorage.setItem('errata-key', '{served.keys[by]}')")
        page.goto(f"{served.url}/{place}")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert faults == []
