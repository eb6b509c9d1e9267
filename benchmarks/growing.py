"""Minutes of load over two services and a vLLM server while the active version changes every other second.

    python -m benchmarks.growing [--minutes 3] [--clients 6]

Needs the environment that `make vllm` makes. One service is a gateway, which passes on to vLLM what that serves; the
other one computes by itself. Halfway, the server's follower is killed; it is started again `AWAY_S` seconds later.
Every answer is held against what the version that it names says on the second service alone.
"""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from errata_cli.processes import environment, free_port, start, stop
from errata_cli.supervisor import Supervisor
from errata_client import Errata
from errata_registry.settings import Settings
from pydantic import ByteSize

from benchmarks.command import arguments_of
from benchmarks.soak import Load, Seen, answers_alone, make_versions, prompts_to_ask, report
from errata.demo import MODEL_FOLDER
from tests.service.vllm_servers import WEIGHTS, answers, follower, num_computed, until, vllm_server

AWAY_S = 10.0
PATIENCE_S = 120.0


def main() -> None:
    """Print what was seen, and how much of it vLLM computed."""
    arguments = arguments_of(__doc__, minutes=3.0, clients=6)
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="errata-growing-") as home, ExitStack() as running:
        settings = Settings(home=Path(home), weight_sets_bytes=ByteSize(1), replica_ttl_s=3)
        gateway = settings.model_copy(update={"port": free_port(), "gateway": True})
        stack = running.enter_context(Supervisor(gateway))
        settings = settings.model_copy(update={"redis_url": stack.redis_url})
        alone = running.enter_context(_service(settings.model_copy(update={"port": free_port()})))
        client = running.enter_context(Errata(alone))
        versions, prompts = make_versions(client), prompts_to_ask()
        expected = answers_alone(client, prompts, versions)
        server = running.enter_context(vllm_server(str(MODEL_FOLDER), WEIGHTS, settings.home / "vllm.log"))
        loads = [Load(url, prompts, versions, expected, seen) for url in (stack.url, alone)]
        over = threading.Event()
        minding = threading.Thread(target=_follow, args=(settings, server, over, arguments.minutes))
        minding.start()
        try:
            until(lambda: len(client.model().replicas) == 3, PATIENCE_S)
            before = num_computed(server)
            asyncio.run(_run(loads, arguments.clients, 60 * arguments.minutes))
            by_vllm = num_computed(server) - before
        finally:
            over.set()
            minding.join()
    report({"over all": seen}, f"{arguments.clients} clients, {arguments.minutes:g} minutes, of it by vLLM: {by_vllm}")


async def _run(loads: list[Load], clients: int, seconds: float) -> None:
    """Half of the clients ask each service. One of them activates."""
    await asyncio.gather(*(load.run(clients // 2, load is loads[0], seconds) for load in loads))


def _follow(settings: Settings, server: httpx.Client, over: threading.Event, minutes: float) -> None:
    """Follow; be killed halfway, and be away for a while."""
    with follower(settings, server) as (process, _):
        over.wait(30 * minutes)
        process.kill()
    over.wait(AWAY_S)
    with follower(settings, server):
        over.wait()


@contextmanager
def _service(settings: Settings) -> Iterator[str]:
    command = [sys.executable, "-m", "errata_service"]
    process = start(command, environment=environment(settings), log=settings.home / "logs" / "second.log")
    try:
        url = f"http://127.0.0.1:{settings.port}"
        with httpx.Client(base_url=url, trust_env=False) as http:
            until(lambda: answers(http, "/readyz"), PATIENCE_S)
        yield url
    finally:
        stop(process, 20)


if __name__ == "__main__":
    main()
