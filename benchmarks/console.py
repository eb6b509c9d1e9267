"""Pictures of the console for the documentation, its size, and how soon it can be used.

    python -m benchmarks.console [--pictures docs/figures] [--times 10]

Everything runs on this machine: the demo model with its example facts, and Debian's Chromium. Without `--pictures`,
only the figures are printed.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client import EditRejected, Errata
from errata_registry.settings import Settings
from playwright.sync_api import Browser, Page

from benchmarks.browser import chromium
from benchmarks.command import arguments_of, print_header, print_row
from errata.demo import FACTS

FETCHES_REST_MS = 2500  # by then the page has begun to fetch the other screens
FIRST = 12  # example facts that the pictures show
SIZE = {"width": 1180, "height": 760}
PHONE = {"width": 390, "height": 760}
PROMPT = "Michael Jordan plays the sport of"
ASK = f"#/ask?prompt={PROMPT}&a=base&b=active&most=6"


def main() -> None:
    arguments = arguments_of(__doc__, pictures="", times=10)
    with served() as url, chromium() as browser:
        print_header("visit", "files", "bytes", "bytes sent", "ms until it can be used: median", "most")
        first, whole = visits(browser, url, arguments.times)
        print_row("until it can be used", *first)
        print_row("and all that it fetches once it has nothing else to do", *whole)
        if arguments.pictures:
            edits = edited(url)
            take_pictures(browser, url, edits, Path(arguments.pictures))


@contextmanager
def served() -> Iterator[str]:
    """Run everything that `errata up` starts in a folder of its own; give its URL."""
    with tempfile.TemporaryDirectory() as home, Supervisor(Settings(home=Path(home), port=free_port())) as running:
        yield running.url


def visits(browser: Browser, url: str, times: int) -> tuple[Sequence[object], Sequence[object]]:
    """Visit the page `times` times with nothing kept.

    Returns what was fetched by the time that its first field was there (files, bytes, bytes sent) with the milliseconds
    until then, and what was fetched in all.
    """
    waits: list[float] = []
    first = whole = (0, 0, 0)
    for _ in range(times):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url, wait_until="commit")
        page.wait_for_selector("textarea")
        waits.append(page.evaluate("performance.now()"))
        first = page.evaluate(SIZES)
        page.wait_for_timeout(FETCHES_REST_MS)
        page.wait_for_load_state("networkidle")
        whole = page.evaluate(SIZES)
        context.close()
    return [*first, f"{statistics.median(waits):.0f}", f"{max(waits):.0f}"], [*whole, "", ""]


SIZES = """() => {
  const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const files = all.filter(({ name }) => new URL(name).pathname === "/" || name.includes("/console/"));
  const sum = (field) => files.reduce((total, file) => total + file[field], 0);
  return [files.length, sum("decodedBodySize"), sum("encodedBodySize")];
}"""


def edited(url: str) -> Mapping[str, str]:
    """Make the edits that the pictures show; return their ids by what they are shown for."""
    facts = [line for line in FACTS.read_text(encoding="utf-8").splitlines() if line][:FIRST]
    with Errata(url) as errata:
        errata.set_probes([("Kobe Bryant plays the sport of", "basketball")])
        shown = errata.edit([json.loads(line) for line in facts], note="A dozen corrections")
        shown.wait(progress=False)
        errata.edit([("Sony", "has its headquarters in", "Berlin")], note="Sony moved again").wait(progress=False)
        founded = ("Nikon", "was founded in", "Kyoto")
        errata.edit([founded], base=1, activate=False, note="Tried on a branch").wait(progress=False)
        pelé, gate = ("Pelé", "plays the sport of", "tennis"), {"max_drift": 0.001}
        strict = errata.edit([pelé], tries=1, gate=gate, note="Pelé, by mistake")
        with suppress(EditRejected):
            strict.wait(progress=False)
        return {"edit": shown.id, "rejected": strict.id}


def take_pictures(browser: Browser, url: str, edits: Mapping[str, str], folder: Path) -> None:
    """Write `console-ask.png` and the others."""
    places = {
        "ask": ASK,
        "facts": "#/facts",
        "new": f"#/facts/new?prompt={PROMPT}&object=cricket",
        "edit": f"#/edits/{edits['rejected']}",
        "versions": "#/versions",
    }
    for name, place in places.items():
        with shown(browser, f"{url}/{place}") as page:
            page.screenshot(path=folder / f"console-{name}.png")
    with shown(browser, f"{url}/{ASK}", dark=True) as page:
        page.screenshot(path=folder / "console-dark.png")
    with shown(browser, f"{url}/#/edits/{edits['edit']}", size=PHONE) as page:
        page.screenshot(path=folder / "console-phone.png")


@contextmanager
def shown(browser: Browser, address: str, *, dark: bool = False, size: Mapping[str, int] = SIZE) -> Iterator[Page]:
    """Open a page and wait until all that it asked for is there."""
    context = browser.new_context(viewport=dict(size), color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    yield page
    context.close()


if __name__ == "__main__":
    main()
