"""The service, the worker and Redis as processes: what they are told, and children that never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from errata_registry.settings import Settings

# Threads that wait for each other give their core away after a moment: where the worker and the service are both busy
# on the cores that one of them would fill, each is three times as fast as with threads that wait in a loop. The moment,
# some microseconds, is longer than most waits of a process that has the cores to itself: without it, that one would
# take nearly twice as long for a step.
SHARED_CORES = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Running(Protocol):
    """A process that was started: what `subprocess.Popen` is to those who look after it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker or a service: this process's, and the settings as variables."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {**SHARED_CORES, **os.environ, **{f"ERRATA_{name.upper()}": str(value) for name, value in values.items()}}


def become(module: str, settings: Settings) -> NoReturn:
    """Turn this process into the service or the worker, which reads its settings from the environment."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module], environment(settings))


def start(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, keep_open: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process whose output is appended to `log`. It inherits the file descriptors `keep_open`.

    It has a session of its own, so that Ctrl-C reaches only the parent, which then ends it in good order.
    On Linux it is also asked to end when the parent is killed without a chance to do so.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=keep_open,
            start_new_session=True,
            preexec_fn=_hear_of_parents_death if sys.platform == "linux" else None,
        )


def keep_small(log: Path, max_bytes: int) -> None:
    """Let a process's log begin anew once it has more than `max_bytes`; what it held is kept beside it, as `.1`."""
    if log.stat().st_size > max_bytes:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)  # the process goes on at its new end, since it appends


def stop(process: Running, patience_s: float) -> None:
    """Ask a process to end; kill it if it has not ended after `patience_s` seconds."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_lines(log: Path, count: int = 15, since: int = 0) -> str:
    """Return the end of a log, to show with an error, but nothing of its first `since` bytes."""
    if not log.exists():
        return ""
    written = log.read_bytes()
    began_anew = len(written) < since
    return "\n".join(written[0 if began_anew else since :].decode(errors="replace").splitlines()[-count:])


def _hear_of_parents_death() -> None:
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
