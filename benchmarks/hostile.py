"""What bodies that are made to hurt do to others: how long `/healthz` waits meanwhile, and how much memory they take.

    python -m benchmarks.hostile

A service of the demo model without keys, as `errata up` starts it. Each body is sent to its route while `/healthz` is
asked again and again; its row tells how it was answered, the longest wait of `/healthz` and the growth of the service's
resident memory at its peak.
"""

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_registry.settings import Settings

from benchmarks.command import print_header, print_row

MILLION = 1_000_000
FACT = b'{"subject": "Ada", "relation": "was born in", "object": "London"'


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Yield the route, what its body is, and the body."""
    for route in ("/edits", "/evaluations", "/traces", "/facts/retract", "/generate", "/rollback", "/v1/completions"):
        yield (
            route,
            "a million unknown fields",
            b"{" + b",".join(b'"f%d":0' % number for number in range(MILLION)) + b"}",
        )
    for route, name in (("/generate", "stop"), ("/facts/retract", "ids"), ("/edits", "facts"), ("/edits", "retract")):
        yield route, f"a million items in {name}", listed(name, [b"0"] * MILLION)
    strange = FACT + b"".join(b', "f%d": 0' % number for number in range(100)) + b"}"
    yield "/edits", "10,000 facts, a hundred unknown fields in each", listed("facts", [strange] * 10_000)
    yield "/edits", "10,000 facts of 6 kB without fault but the last", listed("facts", [*long_facts(9_999), strange])
    paraphrases = b", " + listed("paraphrases", [b'"a"'] * MILLION)[1:]
    yield "/edits", "a fact with a million paraphrases", listed("facts", [FACT + paraphrases])
    yield "/edits", "64 MiB of one text", listed("facts", [b'"' + b"a" * (2**26 - 100) + b'"'])
    yield "/edits", "64 MiB of brackets", b"[" * (2**26 - 100)
    yield "/evaluations", "10,000 records of 6 kB", listed("records", [b'{"a": "%s"}' % (b"a" * 6000)] * 10_000)


def listed(name: str, items: Iterable[bytes]) -> bytes:
    """Return an object with one field, which is a list."""
    return b'{"%s": [%s]}' % (name.encode(), b",".join(items))


def long_facts(count: int) -> Iterator[bytes]:
    """Yield facts of 6 kB each."""
    texts = b'", "'.join([b"a" * 900] * 6)
    for number in range(count):
        about = b'{"subject": "Ada %d", "relation": "was born in", "object": "London"' % number
        yield about + b', "paraphrases": ["%s"]}' % texts


def main() -> None:
    """Print the table."""
    with (
        tempfile.TemporaryDirectory(prefix="errata-hostile-") as home,
        Supervisor(Settings(home=Path(home), port=free_port())) as running,
        httpx.Client(base_url=running.url, timeout=120) as client,
    ):
        print_header("route", "body", "MiB", "answer", "after", "longest wait of /healthz", "memory at its peak")
        for route, said, body in bodies():
            waits, done = [0.0], threading.Event()
            pid = running.pid("service")
            before = peak = resident(pid)
            watch = threading.Thread(target=ask, args=(running.url, waits, done))
            watch.start()
            began = time.perf_counter()
            status: list[str] = []
            sending = threading.Thread(target=send, args=(client, route, body, status))
            sending.start()
            while sending.is_alive():
                peak = max(peak, resident(pid))
                time.sleep(0.01)
            seconds = time.perf_counter() - began
            done.set()
            watch.join()
            size = len(body) / 2**20
            waited, growth = f"{max(waits):.2f} s", f"+{(peak - before) / 2**20:.0f} MiB"
            print_row(route, said, f"{size:.1f}", status[0], f"{seconds:.1f} s", waited, growth)


def send(client: httpx.Client, route: str, body: bytes, status: list[str]) -> None:
    """Send a body and note the status of its answer, or the error that came in its place."""
    try:
        answer = client.post(route, content=body, headers={"Content-Type": "application/json"})
        status.append(str(answer.status_code))
    except httpx.HTTPError as error:
        status.append(type(error).__name__)


def ask(url: str, waits: list[float], done: threading.Event) -> None:
    """Ask `/healthz` again and again, and note how long each answer took."""
    with httpx.Client(base_url=url, timeout=120) as client:
        while not done.is_set():
            began = time.perf_counter()
            client.get("/healthz")
            waits.append(time.perf_counter() - began)
            time.sleep(0.02)


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
