"""Services and workers for tests, forked from a process that has imported what they import.

Importing torch and transformers takes a process seven seconds of a core, building the service's routes and records two
more, and the tests start some eighty. What is forked runs `python -m MODULE` as it is, in a session of its own, with
the environment and the log that it is given; only what it imports is there before it. What the commands `errata up` and
`errata demo` start, starts from nothing in tests, too (`tests/test_way_through.py`).
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from errata_cli.processes import environment
from errata_cli.supervisor import Supervisor
from errata_registry.settings import Settings

IMPORTED = [
    "errata_service.app",
    "errata_worker.edit",
    "errata_worker.evaluation",
    "errata_worker.trace",
    "fastapi",
    "httpx",
    "redis",
    "rq",
    "safetensors.torch",
    "tokenizers",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.gptj.modeling_gptj",
    "uvicorn",
]
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(IMPORTED)


class Preloaded:
    """A module that runs as a process, which can be waited for and signalled."""

    def __init__(self, module: str, *, environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()  # by this process's mask of rights, as Popen would; the fork server has one of its own
        told = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
        self._process = _FORKING.Process(target=_run, args=(module, told, log), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """What it ended with, or None as long as it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return what it ended with. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        ended_with = self.poll()
        if ended_with is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return ended_with

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class PreloadedStack(Supervisor):
    """Everything that `errata up` starts, with the worker and the service forked as above.

    `variables` are further ones of their environment.
    """

    def __init__(self, settings: Settings, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(settings)
        self._variables = variables or {}

    def has_ended(self, name: str) -> bool:
        """Return True if `redis`, `worker` or `service` has ended and was not started again."""
        return self._processes[name].poll() is not None

    def _start(self, name: str) -> None:
        self._processes[name] = Preloaded(
            f"errata_{name}", environment={**environment(self._settings), **self._variables}, log=self._log(name)
        )


def _run(module: str, environment: Mapping[str, str], log: Path) -> None:
    os.setsid()
    threading.Thread(target=_end_with_tests, name="tests", daemon=True).start()
    with log.open("ab") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)  # what the environment says comes too late for a library that is there already
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_tests() -> None:
    """End this process once the one that asked for it is gone, which may have been killed."""
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os.kill(os.getpid(), signal.SIGKILL)
