"""`errata trace`, as it is typed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from errata_cli.main import main

Trace = Callable[..., None]


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """Types `errata trace` with these arguments, and a folder for the results."""

    def typed(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["errata", "trace", "--out", str(tmp_path / "out"), *arguments])
        main()

    return typed


def test_a_prompt_is_traced_into_a_folder(trace: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace("--prompt", "{} plays the sport of", "--subject", "Michael Jordan", "--num-samples", "1")
    assert capsys.readouterr().out.startswith("p(basketball): 0.999 clean")
    assert json.loads((tmp_path / "out" / "trace.json").read_text())["answer"] == " basketball"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["restored.png", "restored.svg", "trace.json"]


def test_the_facts_of_a_file_are_traced_into_a_folder(
    trace: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text(
        "subject,relation,object\nMichael Jordan,plays the sport of,basketball\nLionel Messi,plays the sport of,golf\n"
    )
    trace("--facts", str(facts), "--num-samples", "1")
    assert capsys.readouterr().out.startswith("1 of 2 facts known and traced")
    names = ["effects.png", "effects.svg", "severed.png", "severed.svg", "trace.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    trace("--facts", str(facts), "--num-samples", "1", "--severed-only", "--out", str(tmp_path / "severed"))
    assert sorted(file.name for file in (tmp_path / "severed").iterdir()) == names[2:]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--prompt", "{} plays"], "--prompt and --subject are given together"),
        (["--prompt", "plays", "--subject", "Michael Jordan"], "must hold {} once"),
        (["--facts", "nowhere.csv"], r"nowhere\.csv cannot be read"),
        (["--num-facts", "0"], "there must be a fact to trace"),
        (["--model", "no/such model"], "neither a local folder nor a model that the hub gives"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_one_line(
    trace: Trace, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit, match=f"^errata: .*{fault}"):
        trace(*arguments)
    assert not (tmp_path / "out").exists()
