"""`errata demo`: the whole way through, on the demo model: edit facts, ask, roll back, ask again."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from errata.demo import DEMO, FACTS
from errata_cli.errors import CommandError
from errata_cli.options import settings_with
from errata_cli.preflight import require_startable
from errata_cli.processes import free_port

if TYPE_CHECKING:
    from errata_client import Errata, Fact
    from rich.table import Table

ANSWER_TOKENS = 8
MAX_WIDTH = 100  # columns that lines may have, where the terminal has as many
ANSWER_WIDTH = 18
SHOWN_AGAIN = 9  # questions, after the roll-back


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt of the table: what it is to an edited fact, and what should be answered after the edit."""

    kind: str
    prompt: str
    expected: str


def demo(
    facts: Annotated[Path | None, Option(help="facts to edit in (default: 26 that come with Errata)")] = None,
) -> None:
    """Edit facts of the demo model, show what changed, roll back.

    Starts everything in a temporary home, and stops it at the end.
    """
    chosen = _read(facts or FACTS)
    began = time.monotonic()

    from errata_client import Errata

    from errata_cli.supervisor import Supervisor

    with tempfile.TemporaryDirectory(prefix="errata-demo-") as home:
        settings = settings_with(home=Path(home), host="127.0.0.1", port=free_port(), model=DEMO)
        settings = settings.model_copy(update={"redis_url": None, "keys_file": None})  # nobody else's are touched
        require_startable(settings)
        print("Starting Redis, a worker and the service …", flush=True)
        with Supervisor(settings) as supervisor, Errata(supervisor.url) as client:
            print(f"Serving at {supervisor.url} after {time.monotonic() - began:.1f} s.\n")
            _show_edit(client, chosen)
    print(f"\nEverything is stopped. {time.monotonic() - began:.1f} s in all.")


def _read(facts_file: Path) -> list[Fact]:
    from errata_client import read_facts

    try:
        return list(read_facts(facts_file).values())
    except OSError as error:
        raise CommandError(f"{facts_file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{facts_file} cannot be read: {error}") from error


def _show_edit(client: Errata, facts: Sequence[Fact]) -> None:
    from errata_client import EditError

    questions = [question for fact in facts for question in _questions(fact)]
    before = _answers(client, questions)

    began = time.monotonic()
    print(f"POST /edits: {len(facts)} facts")
    try:
        edit = client.edit(facts, note="errata demo").wait(progress=True)
    except EditError as error:
        raise CommandError(str(error)) from error
    print(f"{edit.id} {edit.status} in {time.monotonic() - began:.1f} s: version {edit.version} is serving")
    metrics = edit.metrics
    if metrics is not None:
        figures = {name: value for name, value in metrics.model_dump().items() if value is not None}
        _say(", ".join(f"{name} {value:.3f}" for name, value in figures.items()), indent="  ")
    after = _answers(client, questions)

    print("\nWhat the model said before, and says now (> marks a changed answer):\n")
    _show(answers_table(questions, ("before", before), ("now", after)))
    as_wanted = sum(answer == question.expected for question, answer in zip(questions, after, strict=True))
    print(f"\n{as_wanted} of {len(questions)} answers are as they should be after the edit.")

    activation = client.rollback()
    rolled_back = _answers(client, questions)
    print(f"\nPOST /rollback: version {activation.active} is serving again\n")
    _show(answers_table(questions[:SHOWN_AGAIN], ("edited", after), ("rolled back", rolled_back)))
    same = sum(answer == old for answer, old in zip(rolled_back, before, strict=True))
    print(f"\n{same} of {len(questions)} answers are the old ones again.")
    if same != len(questions):
        raise CommandError("rolling back did not bring every old answer back")


def _questions(fact: Fact) -> list[Question]:
    template = fact.relation if "{}" in fact.relation else "{} " + fact.relation
    return [
        Question("edited", template.replace("{}", fact.subject), fact.object),
        *(Question("paraphrase", prompt, fact.object) for prompt in fact.paraphrases[:1]),
        *(Question("neighbour", neighbor.prompt, neighbor.object) for neighbor in fact.neighbors[:1]),
    ]


def _answers(client: Errata, questions: Sequence[Question]) -> list[str]:
    prompts = [question.prompt for question in questions]
    generation = client.generate(prompts, max_new_tokens=ANSWER_TOKENS, stop=[".", "\n"])
    return [text.strip() for text in generation.texts]


def answers_table(
    questions: Sequence[Question], earlier: tuple[str, Sequence[str]], later: tuple[str, Sequence[str]]
) -> Table:
    """Return a table with a row for each question; a prompt too long for its column goes on in the next line.

    `earlier` and `later` are a heading with the answers of that time.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column(no_wrap=True)
    table.add_column("prompt")
    for heading, _ in (earlier, later):
        table.add_column(heading, no_wrap=True, max_width=ANSWER_WIDTH)
    for question, old, new in zip(questions, earlier[1], later[1], strict=False):
        mark, style = (">", "bold green") if old != new else (" ", None)
        table.add_row(f"{mark} {question.kind}", question.prompt, old, new, style=style)
    return table


def _show(table: Table) -> None:
    from rich.console import Console

    Console(width=_width(), markup=False, emoji=False, highlight=False).print(table)


def _say(text: str, indent: str = "") -> None:
    print(textwrap.fill(text, _width(), initial_indent=indent, subsequent_indent=indent, break_long_words=False))


def _width() -> int:
    """Return the columns of the terminal, or of what COLUMNS says; 80 where neither tells."""
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)
