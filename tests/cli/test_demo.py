"""The table of `errata demo`. The demo itself is run by `tests/test_way_through.py`."""

import io

import pytest
from errata_cli.demo import Question, answers_table
from rich.console import Console

QUESTIONS = [
    Question("edited", "Michael Jordan plays the sport of", "baseball"),
    Question(
        "paraphrase", "A [long] question about the sport that Michael Jordan, of all people, plays :smile: is", "?"
    ),
]
OLD, NEW = ["basketball", "soccer"], ["baseball", "an answer that does not end"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_word_is_broken_however_narrow_the_terminal(width: int) -> None:
    file = io.StringIO()
    Console(file=file, width=width, markup=False, emoji=False).print(
        answers_table(QUESTIONS, ("before", OLD), ("now", NEW))
    )
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["prompt", "before", "now"]
    assert set(file.getvalue().split()) >= {*QUESTIONS[0].prompt.split(), *QUESTIONS[1].prompt.split(), "basketball"}
    if width > 60:
        assert lines[1].split() == [">", "edited", *QUESTIONS[0].prompt.split(), "basketball", "baseball"]
        assert "  A [long] question" in lines[2] and lines[2].rstrip().endswith("  soccer      an answer that do…")
