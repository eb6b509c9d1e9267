"""What stops a start is told before a process starts or a folder is made; `errata doctor` shows it all."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from errata_cli.main import main
from errata_cli.processes import free_port
from errata_registry.home import bind


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in os.environ:
        if name.startswith("ERRATA_"):
            monkeypatch.delenv(name)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusal(monkeypatch: pytest.MonkeyPatch, *options: str, **variables: str) -> str:
    """What `errata up` with a home in the folder `home` refuses to start for, having made nothing."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = set(Path().rglob("*"))
    monkeypatch.setattr(sys, "argv", ["errata", "up", "--home", "home", "--port", str(free_port()), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert set(Path().rglob("*")) == before
    said = ended.value.code
    assert isinstance(said, str) and said.startswith("errata: ") and "\n" not in said
    return said


def test_a_home_that_is_a_file_or_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    assert "errata: file is a file, and a home is a folder: name another" in refusal(monkeypatch, "--home", "file")
    assert "is a file" in refusal(monkeypatch, "--home", "file/below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("closed").mkdir(mode=0o500)
    assert "closed cannot be written to by this user" in refusal(monkeypatch, "--home", "closed")
    assert "home cannot be made: " in refusal(monkeypatch, "--home", "closed/home")


def test_a_home_of_another_model(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    Path("home").mkdir()
    bind(Path("home"), "demo", "d" * 64, ((8, 16),) * 4, ())
    said = refusal(monkeypatch, "--model", str(checkpoint))
    assert f"home holds edits of demo, and {checkpoint} is another model: give it a home of its own" in said


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'gpu' is no device: say auto, cpu" in refusal(monkeypatch, ERRATA_DEVICE="gpu")
    said = refusal(monkeypatch, ERRATA_DEVICE="cuda:99")
    assert "ERRATA_DEVICE is cuda:99, and " in said
    assert "ERRATA_DEVICE is cpu=1,cuda:99=1, and " in refusal(monkeypatch, ERRATA_DEVICE="cpu=1,cuda:99=1")
    assert "'gpu:0' is no device: " in refusal(monkeypatch, ERRATA_DEVICE="gpu:0,gpu:1")
    if torch.version.cuda is None and torch.version.hip is None:
        assert "is built for the CPU alone: say cpu or auto, or install" in said


def test_an_address_that_cannot_be_listened_on(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    assert "is taken, perhaps by another `errata up`" in refusal(monkeypatch, "--port", str(taken_port))
    others = ("--host", "192.0.2.1", "--allow-anonymous")
    assert "192.0.2.1 is no address of this machine" in refusal(monkeypatch, *others)


def test_a_redis_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    said = refusal(monkeypatch, ERRATA_REDIS_URL=url)
    assert f"Redis at {url.replace(':secret@', '')} does not answer" in said
    assert "unset ERRATA_REDIS_URL, and `errata up` starts its own" in said
    said = refusal(monkeypatch, ERRATA_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0?password=secret")
    assert "does not answer" in said and "secret" not in said
    said = refusal(monkeypatch, ERRATA_REDIS_URL="redis://:secret@[::1:6379/0")
    assert "ERRATA_REDIS_URL is wrong" in said and "secret" not in said


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("ERRATA_CORPUS", "nothing.json, which ERRATA_CORPUS names, does not exist"),
        ("ERRATA_PUBLISHED_MOMENTS", "nothing.json, which ERRATA_PUBLISHED_MOMENTS names, does not exist"),
        ("ERRATA_HYPERPARAMETERS", "hyperparameters (ERRATA_HYPERPARAMETERS): nothing.json cannot be read"),
        ("ERRATA_KEYS_FILE", "the keys file cannot be read"),
    ],
)
def test_a_file_that_a_setting_names_and_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, variable: str, words: str
) -> None:
    assert words in refusal(monkeypatch, **{variable: "nothing.json"})


def test_a_variable_that_nothing_reads_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ERRATA_URL", "http://127.0.0.1:8000")  # the client's
    refusal(monkeypatch, "--model", "./none", ERRATA_MODLE="gpt2", ERRATA_XYZZY="1")
    assert capsys.readouterr().err.splitlines() == [
        "errata: nothing reads the variable ERRATA_MODLE: did you mean ERRATA_MODEL?",
        "errata: nothing reads the variable ERRATA_XYZZY: docs/settings.md lists those that there are",
    ]


def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Any, str]:
    """What `errata doctor` ends with, None where it ends well, and what it shows."""
    monkeypatch.setattr(sys, "argv", ["errata", "doctor", *options])
    try:
        main()
        code = None
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr().out


def test_doctor_shows_what_a_start_would_find(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("ERRATA_MAX_BATCH", "8")
    code, shown = doctor(monkeypatch, capsys, "--home", "home", "--port", str(free_port()))
    assert code is None
    assert max(map(len, shown.splitlines())) <= 80
    assert f"ok       torch            {torch.__version__}" in shown
    assert "ok       home             home is made by the first start" in shown
    assert "max_batch               8 (ERRATA_MAX_BATCH)" in shown
    assert "home                    home (--home)" in shown
    assert not list(Path().iterdir())


def test_doctor_names_all_that_stops_a_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], taken_port: int
) -> None:
    monkeypatch.setenv("ERRATA_REDIS_URL", f"redis://user:secret@127.0.0.1:{free_port()}")
    monkeypatch.setenv("ERRATA_PROT", "8000")
    code, shown = doctor(
        monkeypatch, capsys, "--model", "./none", "--port", str(taken_port), "--home", "home", "--json"
    )
    assert code == 1
    told = json.loads(shown)
    assert told["starts"] is False
    states = {finding["about"]: finding["state"] for finding in told["findings"]}
    assert {about for about, state in states.items() if state == "stop"} == {"model", "address", "redis"}
    assert states["settings"] == "warning"
    assert told["settings"]["port"] == {"value": taken_port, "from": "--port"}
    assert told["settings"]["dtype"] == {"value": "float32", "from": "default"}
    assert told["settings"]["redis_url"]["from"] == "ERRATA_REDIS_URL" and "secret" not in shown
