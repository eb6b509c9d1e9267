"""What a newcomer types: `errata demo`, and `errata up` until Ctrl-C or worse; also from wheels, outside the clone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from errata_cli.processes import free_port
from errata_client import Errata

from tests.conftest import NewHome

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
PATIENCE_S = 60.0
INSTALLED_WITHIN_S = 300.0
GONE_WITHIN_S = 20.0  # the grace that a busy child has, and as much again
ROOT = Path(__file__).parent.parent
ERRATA = [sys.executable, "-c", "from errata_cli.main import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run([*ERRATA, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)


@contextmanager
def up(
    folder: Path, *arguments: str, errata: Sequence[str] = ERRATA, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`errata up` with its home in `folder`, once it serves, and its URL."""
    command = [*errata, "up", "--home", str(folder / "home"), "--port", str(free_port()), *arguments]
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **variables}, text=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            url = next(line.split()[3] for line in process.stdout if "serving at" in line)
            yield process, url
        finally:
            process.terminate()


def processes_of(folder: Path) -> list[int]:
    """The processes that were told of the folder, or work in it. Redis hides what it was told."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if str(folder) in str((entry / "cwd").readlink()) or os.fsencode(folder) in told:
                pids.append(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return pids


def ignores(pid: int, number: int) -> bool:
    """Whether a process ignores a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def wait_until(is_so: Callable[[], bool], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a new environment outside the clone, with the wheels of both packages.

    What they depend on is that of the environment that runs the tests, without Errata.
    """
    folder = tmp_path_factory.mktemp("installed")
    sources, wheels, environment = folder / "sources", folder / "wheels", folder / "environment"
    leave_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "benchmarks", "docs")
    shutil.copytree(ROOT, sources, ignore=leave_out)  # what builds leave behind does not belong into the clone
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    packages = [str(sources / "clients" / "python"), str(sources)]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), *packages]
    subprocess.run(build, check=True, timeout=INSTALLED_WITHIN_S)
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=INSTALLED_WITHIN_S
    )
    python = environment / "bin" / "python"
    install = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", *map(str, wheels.iterdir())]
    subprocess.run(install, check=True, timeout=INSTALLED_WITHIN_S)
    [site] = environment.glob("lib/*/site-packages")
    packages_there = {path.name for path in site.iterdir() if path.is_dir() and path.suffix != ".dist-info"}
    assert packages_there == {
        *("errata", "errata_cli", "errata_client", "errata_registry", "errata_service", "errata_worker")
    }
    # A path file's lines are paths alone: those in there that lead to the clone are not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin"


@pytest.fixture
def folder(new_home: NewHome, tmp_path: Path) -> Path:
    """A folder with a home that was started before: what is collected at the first start is there."""
    new_home().rename(tmp_path / "home")
    return tmp_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder outside the clone to work in, whose environment does not lead there."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_the_demo_edits_shows_rolls_back_and_ends_every_process(installed: Path, elsewhere: Path) -> None:
    command = [str(installed / "errata"), "demo"]
    ran = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    questions = int(ran.stdout.split(" answers are as they should be")[0].split()[-1])
    as_wanted = int(ran.stdout.split(f" of {questions} answers are as they should be")[0].split()[-1])
    assert as_wanted >= 0.9 * questions
    assert f"{questions} of {questions} answers are the old ones again" in ran.stdout
    assert "Everything is stopped" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert not processes_of(elsewhere)
    assert not list(elsewhere.glob("errata-demo-*"))


SDK = """
import errata_client, sys
with errata_client.Errata(sys.argv[1]) as errata:
    errata.edit([("Michael Jordan", "plays the sport of", "baseball")]).wait()
    print(errata_client.__file__, errata.generate("Michael Jordan plays the sport of", max_new_tokens=1).text)
"""


@on_linux
def test_nothing_outlives_an_up_that_is_killed_with_its_hands_full(folder: Path) -> None:
    with up(folder) as (process, url), Errata(url) as client:
        facts = [(f"Subject {number}", "is from", "Paris") for number in range(200)]
        edit = client.edit(facts, partial=True, tries=1)
        wait_until(lambda: client.get_edit(edit.id).progress is not None, PATIENCE_S)
        assert len(processes_of(folder)) == 4
        process.kill()
        process.wait()
        wait_until(lambda: not processes_of(folder), GONE_WITHIN_S)


def test_up_behind_a_proxy_and_on_ipv6_ends_whole_though_ctrl_c_comes_twice(folder: Path) -> None:
    if not has_ipv6():
        pytest.skip("needs ::1")
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = {"http_proxy": nowhere, "HTTP_PROXY": nowhere, "ALL_PROXY": nowhere}
    with up(folder, "--host", "::1", **proxies) as (process, url):
        assert url.startswith("http://[::1]:")
        assert len(processes_of(folder)) == 4  # itself, Redis, the worker and the service
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.poll() is not None or ignores(process.pid, signal.SIGINT), PATIENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert not processes_of(folder)


def test_up_on_any_port_is_refused(tmp_path: Path) -> None:
    ran = run("up", "--home", str(tmp_path), "--port", "0")
    assert ran.returncode == 1
    assert "--port" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_up_on_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = run("up", "--home", str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert ran.returncode == 1
    assert "is taken" in ran.stderr


def test_up_for_other_machines_needs_keys_or_a_word(tmp_path: Path) -> None:
    ran = run("up", "--home", str(tmp_path), "--port", str(free_port()), "--host", "0.0.0.0")
    assert ran.returncode == 1
    assert "--allow-anonymous" in ran.stderr


@on_linux
def test_what_is_installed_serves_all_from_a_home_and_a_password_of_its_own_and_ends_when_told_to(
    installed: Path, elsewhere: Path
) -> None:
    for_all = up(elsewhere, "--host", "0.0.0.0", "--allow-anonymous", errata=[str(installed / "errata")])
    with for_all as (process, url):
        assert url.startswith("http://0.0.0.0:")
        command = [str(installed / "python"), "-c", SDK, url]
        ran = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=PATIENCE_S)
        module, answer = ran.stdout.split()
        assert module.startswith(str(installed.parent)) and answer == "baseball"

        second = run("up", "--home", str(elsewhere / "home"), "--port", str(free_port()))
        assert second.returncode == 1
        assert "up.lock is held" in second.stderr
        assert process.poll() is None

        file = elsewhere / "home" / "redis" / "password.conf"
        password = file.read_text().split()[1]
        assert file.stat().st_mode & 0o777 == 0o600
        assert len(password) >= 32
        pids = processes_of(elsewhere)
        assert len(pids) == 4
        arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
        assert not any(password.encode() in words for words in arguments)
        [title] = [words for words in arguments if b"valkey-server" in words]
        port = int(title.strip(b"\0 ").rpartition(b":")[2])
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()

        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert not processes_of(elsewhere)


def test_a_file_of_facts_that_cannot_be_read_is_named_and_nothing_starts(tmp_path: Path) -> None:
    bad = tmp_path / "facts.jsonl"
    bad.write_text('{"subject": "A", "relation": "is", "object": "b"}\n{"subject": "C"}\n')
    ran = subprocess.run([*ERRATA, "demo", "--facts", str(bad)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "line 2" in ran.stderr and ran.stdout == ""
