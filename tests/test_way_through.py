"""What a newcomer types: `errata demo`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ERRATA = [sys.executable, "-c", "from errata.command.main import main; main()"]


def test_the_demo_edits_shows_rolls_back_and_ends_every_process(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*ERRATA, "demo", "--facts", str(ROOT / "examples" / "facts.jsonl")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    questions = int(ran.stdout.split(" answers are as they should be")[0].split()[-1])
    as_wanted = int(ran.stdout.split(f" of {questions} answers are as they should be")[0].split()[-1])
    assert as_wanted >= 0.9 * questions
    assert f"{questions} of {questions} answers are the old ones again" in ran.stdout
    assert "Everything is stopped" in ran.stdout
    assert not subprocess.run(["pgrep", "-f", "errata-demo-"], capture_output=True, text=True).stdout


def test_a_file_of_facts_that_cannot_be_read_is_named_and_nothing_starts(tmp_path: Path) -> None:
    bad = tmp_path / "facts.jsonl"
    bad.write_text('{"subject": "A", "relation": "is", "object": "b"}\n{"subject": "C"}\n')
    ran = subprocess.run([*ERRATA, "demo", "--facts", str(bad)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "line 2" in ran.stderr and ran.stdout == ""
