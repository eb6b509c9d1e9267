"""Completion: what the shells suggest, in the shells themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest
from errata_client.cli import main

SUGGESTED = [
    ("ver", {"versions"}),
    ("versions ro", {"rollback"}),
    ("versions --tr", {"--tree"}),
    ("versions export 3 --format ", {"delta", "lora", "merged"}),
    ("--url http://x edits submit --on-conflict ", {"replace", "error"}),
    ("generate --temp", {"--temperature"}),
    ("completion ", {"bash", "zsh", "fish"}),
    ("edit fac", {"facts.csv"}),
    ("versions show ", set()),
]


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script for the shell that the test is about; the test is skipped where that is not installed."""
    shell = str(request.param)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    file = tmp_path / f"completion.{shell}"
    file.write_text(capsys.readouterr().out)
    (tmp_path / "facts.csv").write_text("")
    return file


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_nouns_verbs_options_choices_and_files(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    ask = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _errata_client
             printf '%s\\n' "${COMPREPLY[@]}" """
    for typed, suggested in SUGGESTED:
        words = ["errata-client", *typed.split(" ")]
        ran = subprocess.run(
            ["bash", "-c", ask, "bash", str(script), *words],
            cwd=script.parent,
            text=True,
            capture_output=True,
            check=True,
        )
        assert (set(ran.stdout.split()), ran.stderr) == (suggested, ""), typed


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_the_same(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(script.parent))
    ask = "\n".join(f'complete -C "errata-client {typed}" | string split -f1 \\t; echo ==' for typed, _ in SUGGESTED)
    ran = subprocess.run(
        ["fish", "-c", f"source {script}\n{ask}"], cwd=script.parent, text=True, capture_output=True, check=True
    )
    found = [set(part.split()) for part in ran.stdout.split("==\n")]
    for (typed, suggested), got in zip(SUGGESTED, found, strict=False):
        assert got == suggested, typed


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_reads_its_script(script: Path) -> None:
    subprocess.run(["zsh", "-n", str(script)], check=True)
