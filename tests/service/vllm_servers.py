"""Real vLLM servers for tests, and followers of theirs."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from errata_cli.processes import environment, free_port, last_lines, stop
from errata_registry.settings import Settings

from tests.preloaded import Preloaded
from tests.vllm_environment import PYTHON, VARIABLES

START_S = 900.0  # imports take vLLM minutes of a core that others use, too
WEIGHTS = ("--middleware", "errata_vllm.Gate", "--worker-extension-cls", "errata_vllm.EditedMatrices")
ADAPTERS = ("--enable-lora", "--max-lora-rank", "8", "--max-loras", "4", "--max-cpu-loras", "8")
NAME = "base-model"


@contextmanager
def vllm_server(model: str, route: tuple[str, ...], log: Path, port: int | None = None) -> Iterator[httpx.Client]:
    """A server of a model in float32, ready."""
    port = port or free_port()
    options = {"--model": model, "--served-model-name": NAME, "--dtype": "float32"}
    more = {"--max-num-seqs": "8", "--port": str(port), "--host": "127.0.0.1"}
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", *route]
    for option, value in (options | more).items():
        command += [option, value]
    variables = VARIABLES | {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1" if route == ADAPTERS else "0"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            until(lambda: answers(client, "/health"), START_S, lambda: _alive(process, log))
            yield client
    finally:
        stop(process, 30)


@contextmanager
def follower(settings: Settings, server: httpx.Client) -> Iterator[tuple[Preloaded, httpx.Client]]:
    """A follower of a server, and a client of its probes."""
    told = settings.model_copy(update={"follow_url": str(server.base_url).rstrip("/"), "port": free_port()})
    log = settings.home / "logs" / "follower.log"
    process = Preloaded("errata_service.vllm", environment=environment(told), log=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{told.port}", timeout=10, trust_env=False) as probes:
            until(lambda: answers(probes, "/healthz"), 60, lambda: _alive(process, log))
            yield process, probes
    finally:
        stop(process, 20)


def num_computed(server: httpx.Client) -> int:
    """Return how many completions a server has brought to their end."""
    figures = server.get("/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in figures if line.startswith("vllm:request_success_total{"))


def until(is_so: Callable[[], bool], within_s: float, check: Callable[[], object] = lambda: None) -> None:
    """Wait until something is so; `check` raises where it never will be."""
    deadline = time.monotonic() + within_s
    while not is_so():
        check()
        assert time.monotonic() < deadline, "it did not come to be so in time"
        time.sleep(0.1)


def answers(client: httpx.Client, path: str) -> bool:
    """Return True where a path answers 200."""
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _alive(process: "subprocess.Popen[bytes] | Preloaded", log: Path) -> None:
    assert process.poll() is None, last_lines(log, 60)
