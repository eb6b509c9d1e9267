"""A server of the S3 protocol, a process of its own, and a network before it that can be made to fail."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from errata_cli.processes import free_port, stop

from benchmarks.faults.proxy import Proxy

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class BucketServer:
    """A server, and the network before it.

    Attributes:
        folder: where it keeps the objects of the bucket `errata`, each in a file of its name.
        environment: of those who ask it through that network; `past_the_network` is that of the others.
    """

    network: Proxy
    folder: Path
    environment: dict[str, str]
    past_the_network: dict[str, str]


@contextmanager
def bucket_server(root: Path) -> Iterator[BucketServer]:
    """Run a server that knows the bucket `errata`."""
    folder, port = root / "errata", free_port()
    folder.mkdir(parents=True)
    with (root.parent / f"{root.name}.log").open("wb") as log:
        command = [sys.executable, "-m", "localbucket", "--port", str(port), str(root)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    network = Proxy(port)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < deadline, "the server of buckets did not start"
            time.sleep(0.05)
        yield BucketServer(network, folder, _environment(network.port), _environment(port))
    finally:
        network.close()
        stop(process, PATIENCE_S)


def _environment(port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").status_code < 500
    except httpx.TransportError:
        return False
