"""One service, two, and a vLLM server: what each brings, and then minutes of load while the active version changes.

    OMP_NUM_THREADS=1 python -m benchmarks.growing [--minutes 3] [--clients 6]

Needs the environment that `make vllm` makes. Tokens a second are measured first, of `RATE_CLIENTS` clients that are
shared out among the services. One service is a gateway, which passes on to vLLM what that serves; the other one
computes by itself. Then the active version changes every other second. Halfway, the server's follower is killed; it is
started again `AWAY_S` seconds later. Every answer is held against what the version that it names says on the second
service alone.
"""

import asyncio
import statistics
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

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.serving import load, prompts_of_facts
from benchmarks.soak import Load, Seen, answers_alone, make_versions, prompts_to_ask, report
from errata.demo import MODEL_FOLDER
from tests.service.vllm_servers import WEIGHTS, answers, follower, num_computed, until, vllm_server

AWAY_S = 10.0
PATIENCE_S = 120.0
RATE_CLIENTS = 16
RATE_TOKENS = 64
RATE_TURNS = 3


def main() -> None:
    """Print tokens a second, and then what was seen under a changing version and how much of it vLLM computed."""
    arguments = arguments_of(__doc__, minutes=3.0, clients=6)
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="errata-growing-") as home, ExitStack() as running:
        settings = Settings(home=Path(home), weight_sets_bytes=ByteSize(1), replica_ttl_s=3)
        gateway = settings.model_copy(update={"port": free_port(), "gateway": True})
        stack = running.enter_context(Supervisor(gateway))
        settings = settings.model_copy(update={"redis_url": stack.redis_url})
        alone = running.enter_context(_service(settings.model_copy(update={"port": free_port()})))
        rates = _rates({"one service": [alone], "two services": [alone, stack.url]})
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
            client.activate(0)
            rates |= _rates(
                {"a gateway, vLLM computes": [stack.url], "both services, vLLM for one": [alone, stack.url]}
            )
            before = num_computed(server)
            asyncio.run(_run(loads, arguments.clients, 60 * arguments.minutes))
            by_vllm = num_computed(server) - before
        finally:
            over.set()
            minding.join()
    print_header("", "tokens/s", "over one service", "range")
    for name, found in rates.items():
        median, one = statistics.median(found), statistics.median(rates["one service"])
        print_row(name, f"{median:.0f}", f"{median / one:.2f}", f"{min(found):.0f}-{max(found):.0f}")
    report({"over all": seen}, f"{arguments.clients} clients, {arguments.minutes:g} minutes, of it by vLLM: {by_vllm}")


def _rates(services: dict[str, list[str]]) -> dict[str, list[float]]:
    """Return tokens a second through some services at once, of each turn but the first one, which warms up."""
    prompts = prompts_of_facts()

    async def rate(urls: list[str]) -> float:
        shared = RATE_CLIENTS // len(urls)
        return sum(await asyncio.gather(*(load(url, prompts, shared, RATE_TOKENS) for url in urls)))

    found: dict[str, list[float]] = {name: [] for name in services}
    for turn in range(RATE_TURNS + 1):
        for name, urls in services.items():
            measured = asyncio.run(rate(urls))
            if turn:
                found[name].append(measured)
    return found


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
