"""The `errata` command as a whole: its help, and what it says of mistakes that were typed."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from errata_cli.main import main
from errata_registry.home import bind
from errata_registry.versions.manifest import BaseModelName
from errata_registry.versions.store import Artifacts

from errata.deltas import Delta
from errata.files.checksums import checked, with_checksum
from tests.made_up_versions import make_up_version

COMMANDS = [
    *("up", "service", "worker", "follow", "demo", "doctor", "completion", "new-key", "reindex", "verify"),
    *("to-bucket", "import"),
    *("statistics", "train-mend", "trace", "evaluate", "bench", "tune"),
]
SLOW = {"torch", "transformers", "matplotlib", "redis", "httpx"}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Type a command; return what it exits with, which is None where it ends well."""
    monkeypatch.setattr(sys, "argv", ["errata", *arguments])
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return None


def test_it_says_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") is None
    assert capsys.readouterr().out == f"errata {version('errata')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    assert run(monkeypatch, "completion", shell) is None
    assert "_ERRATA_COMPLETE" in capsys.readouterr().out


def test_every_command_is_listed_in_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") is None
    listed = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    assert run(monkeypatch, command, option) is None
    assert capsys.readouterr().out.startswith(f"Usage: errata {command} ")


def test_what_a_strangers_version_says_of_itself_does_not_move_the_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = BaseModelName(name="demo", digest="d" * 64, dtype="float32")
    homes = [tmp_path / name for name in ("here", "there")]
    for home in homes:
        home.mkdir()
        bind(home, model.name, model.digest, ((8, 16),) * 4, ())
    update = Delta.of_change(torch.zeros(8, 16))
    make_up_version(Artifacts(homes[0]), model, {2: update}, edit="\x1b[2Jedit")
    exported = homes[0] / "versions" / "000001"

    assert run(monkeypatch, "import", str(exported), "--home", str(homes[1])) is None
    assert capsys.readouterr().out == "version 1: 0 facts, was version 1 of another home (\\x1b[2Jedit)\n"

    manifest = exported / "manifest.json"
    text = checked(manifest.read_bytes()).decode().replace('"memit"', r'"\u001b[2J\nmemit"').replace("d" * 64, "e" * 64)
    manifest.write_text(with_checksum(text.replace('"name": "demo"', r'"name": "\u001b[2Jdemo"')))
    assert run(monkeypatch, "verify", "--home", str(homes[0])) == 1
    told = capsys.readouterr().out
    said = run(monkeypatch, "import", str(exported), "--home", str(homes[1]))
    assert isinstance(said, str) and said.startswith("errata: 000001 was built on \\x1b[2Jdemo")
    assert told.startswith("version 1: it was built on \\x1b[2Jdemo") and "'\\x1b[2J\\nmemit'" in told
    assert told.count("\n") == 3


HELP_OF_EACH = """
import sys
from errata_cli.main import main
commands = sys.argv[1:]
for command in commands:
    sys.argv = ["errata", command, "-h"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
print(*sys.modules)
"""


def test_help_waits_for_nothing_that_is_slow_to_load() -> None:
    ran = subprocess.run([sys.executable, "-c", HELP_OF_EACH, *COMMANDS], capture_output=True, text=True, check=True)
    assert ran.stdout.count("Usage: errata ") == len(COMMANDS)
    assert SLOW.isdisjoint(ran.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["nothing"], "'nothing'"),
        (["up", "--port", "any"], "'--port'"),
        (["up", "--nothing"], "--nothing"),
        (["import"], "'archive'"),
        (["trace"], "'--out'"),
        (["bench", "squad"], "'squad' is not one of 'counterfact', 'zsre'"),
        (["bench", "zsre", "--edits", "1,ten"], "--edits: '1,ten'"),
        (["tune", "--clamps", "little"], "--clamps: 'little'"),
        (["new-key", "ci"], "'scopes'"),
        (["new-key", "ci", "fly"], "'fly' is not one of 'read', 'edit', 'admin'"),
        (["new-key", "two words", "read"], "a key's name is one word"),
        (["evaluate", "--zsre-object", "both"], "'--zsre-object'"),
    ],
)
def test_a_wrong_command_line_is_told_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["up", "--port", "65536"], "errata: a setting is wrong: port: "),
        (["import", "nowhere.tar"], "errata: nowhere.tar does not exist"),
        (["evaluate", "--version", "3", "--home", "nowhere"], "errata: there is no version 3: nowhere holds none"),
        (["reindex", "--home", "empty"], "errata: no Redis is named: set ERRATA_REDIS_URL"),
        (["to-bucket", "--home", "empty"], "errata: no bucket is named: set ERRATA_BUCKET"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(monkeypatch, *arguments)
    assert isinstance(said, str) and said.startswith(fault) and "\n" not in said


def test_a_folder_that_is_no_home_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ERRATA_BUCKET", "s3://bucket/prefix")
    tmp_path.chmod(0o755)
    said = run(monkeypatch, "to-bucket", "--home", str(tmp_path))
    assert said == f"errata: {tmp_path} is no home folder that a service or worker has begun"
    assert list(tmp_path.iterdir()) == [] and tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_setting_comes_from_the_environment_where_no_option_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_PORT", "65536")
    assert "a setting is wrong: port" in str(run(monkeypatch, "up"))
    assert "port 0" in str(run(monkeypatch, "up", "--port", "0"))
