"""Slow clients and many of them: who is cut off, who is not, and what is answered meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from tests.service.conftest import NewSettings, Serve, figures, until_ready
from tests.service.test_edits import body
from tests.service.test_streaming import until

PATIENCE_S = 3.0
MOST = 40
MOST_FOLLOWERS = 30
LONG_AFTER_S = 30.0  # than which a busy machine does not take longer to close what is overdue
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def _hasty(serve: Serve, new_settings: NewSettings) -> httpx.Client:
    client = serve(new_settings(max_connections=MOST, request_timeout_s=PATIENCE_S))
    until_ready(client)
    return client


@pytest.fixture
def hasty(_hasty: httpx.Client) -> httpx.Client:
    """A client of a service with few connections and little patience, which has no other client."""
    until(lambda: figures(_hasty)["errata_connections"] == 1)
    return _hasty


def fresh(client: httpx.Client, path: str) -> httpx.Response:
    """Ask over a new connection."""
    return httpx.get(f"{client.base_url}{path}", timeout=LONG_AFTER_S)


@contextmanager
def connection(client: httpx.Client, sent: bytes = b"") -> Iterator[socket.socket]:
    """A connection over which something was sent."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=LONG_AFTER_S) as made:
        made.sendall(sent)
        yield made


def answer_of(made: socket.socket, drip: bytes = b"") -> bytes:
    """Send the same again and again until the service closes the connection; return what it answered."""
    came, deadline = b"", time.monotonic() + LONG_AFTER_S
    made.settimeout(0.2)
    while time.monotonic() < deadline:
        with suppress(ConnectionError):
            made.sendall(drip)
        try:
            part = made.recv(2**16)
        except TimeoutError:
            continue
        except ConnectionError:
            return came
        if not part:
            return came
        came += part
    raise AssertionError("the connection was never closed")


class Uploads:
    """Bodies that are never complete and come steadily, each over a connection of its own, until they are given up."""

    def __init__(self, client: httpx.Client, count: int, begin: bytes, part: bytes) -> None:
        self.begun = threading.Semaphore(0)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._upload, args=(client, begin, part)) for _ in range(count)]

    def __enter__(self) -> Uploads:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self.begun.acquire(timeout=LONG_AFTER_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _upload(self, client: httpx.Client, begin: bytes, part: bytes) -> None:
        head = b"POST /edits HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % 2**26
        with suppress(ConnectionError), connection(client, head + begin) as made:
            self.begun.release()
            while not self._over.wait(0.2):
                made.sendall(part)


@pytest.mark.parametrize(
    ("sent", "drip"),
    [(b"", b""), (b"GET /healthz HTTP/1.1\r\nHost:", b""), (b"GET /healthz HTTP/1.1\r\nHost: ", b"a")],
    ids=["nothing", "half a head", "a head byte by byte"],
)
def test_a_head_that_does_not_come_ends_the_connection(hasty: httpx.Client, sent: bytes, drip: bytes) -> None:
    with connection(hasty, sent) as made:
        assert answer_of(made, drip) == b""


def test_a_second_head_that_does_not_come_ends_the_connection(hasty: httpx.Client) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with connection(hasty, request + b"\r\n" + request) as made:
        assert answer_of(made, b"a: b\r\n").count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize("drip", [b"", b" "], ids=["in silence", "byte by byte"])
@pytest.mark.parametrize("length", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_answered_so(hasty: httpx.Client, length: bytes, drip: bytes) -> None:
    chunked = b"chunked" in length
    with connection(
        hasty, b"POST /edits HTTP/1.1\r\n" + HEAD + length + b"\r\n\r\n" + b"2\r\n{ \r\n" * chunked
    ) as made:
        answered = answer_of(made, drip and b"1\r\n \r\n" if chunked else drip)
    assert answered.startswith(b"HTTP/1.1 408") and b"application/problem+json" in answered


def test_a_body_that_nobody_reads_does_not_keep_the_connection_open(hasty: httpx.Client) -> None:
    with connection(hasty, b"POST /nowhere HTTP/1.1\r\n" + HEAD + b"Content-Length: 1000000\r\n\r\n") as made:
        assert answer_of(made, b" ").startswith(b"HTTP/1.1 404")


def test_who_takes_nothing_of_an_answer_is_cut_off(hasty: httpx.Client) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connection(hasty) as made:
        made.settimeout(LONG_AFTER_S)
        with pytest.raises(ConnectionError):
            while True:  # the service stops reading once the answers cannot go out
                made.sendall(request * 100)


def test_a_steady_body_may_take_longer_than_a_client_may_be_silent(hasty: httpx.Client) -> None:
    posted = json.dumps(body()).encode() + b" " * 800_000

    def parts() -> Iterator[bytes]:
        for first in range(0, len(posted), 80_000):
            yield posted[first : first + 80_000]
            time.sleep(PATIENCE_S / 6)

    answer = hasty.post("/edits", content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text


def test_followers_leave_room_for_others(hasty: httpx.Client) -> None:
    edit = hasty.post("/edits", json=body()).json()["id"]
    with ExitStack() as open_ones:
        for _ in range(MOST_FOLLOWERS):
            request = f"GET /edits/{edit}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            made = open_ones.enter_context(connection(hasty, request))
            assert made.recv(2**16).startswith(b"HTTP/1.1 200")
        for path in (f"/edits/{edit}/events", f"/edits/{edit}?wait=1"):
            refused = hasty.get(path)
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:errata:problem:overloaded")
            assert int(refused.headers["retry-after"]) > 0
        for path in ("/healthz", "/readyz", "/versions", f"/edits/{edit}"):
            assert hasty.get(path).status_code == 200
    until(lambda: figures(hasty)["errata_followers"] == 0)
    assert hasty.get(f"/edits/{edit}?wait=0.1").status_code == 200


def test_where_all_connections_are_busy_health_is_answered_and_the_rest_is_told_to_come_again(
    hasty: httpx.Client,
) -> None:
    edit = hasty.post("/edits", json=body()).json()["id"]
    follow = f"GET /edits/{edit}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with ExitStack() as open_ones:
        for _ in range(MOST_FOLLOWERS):
            open_ones.enter_context(connection(hasty, follow))
        open_ones.enter_context(Uploads(hasty, MOST, b"", b" " * 2**14))
        until(lambda: fresh(hasty, "/versions").status_code == 503)
        until(lambda: fresh(hasty, "/v1/models").status_code == 503)
        refused = fresh(hasty, "/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) > 0 and refused.headers["connection"] == "close"
        assert refused.headers["x-content-type-options"] == "nosniff"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert fresh(hasty, path).status_code == 200
    until(lambda: fresh(hasty, "/versions").status_code == 200)


def test_those_who_keep_the_service_waiting_make_room_for_others(hasty: httpx.Client) -> None:
    over = threading.Event()

    def flood() -> None:
        with ExitStack() as open_ones:
            while not over.wait(0.01):
                open_ones.enter_context(connection(hasty, b"GET /versions HTTP/1.1\r\n"))

    flooding = threading.Thread(target=flood)
    flooding.start()
    time.sleep(2)  # far more than may be open, and the first of them for a while
    statuses = [fresh(hasty, "/versions").status_code for _ in range(10)]
    over.set()
    flooding.join()
    assert statuses == [200] * 10


def test_large_bodies_have_bounded_room_together_and_keep_no_small_one_out(hasty: httpx.Client) -> None:
    large = json.dumps(body()).encode() + b" " * 2**24
    headers = {"Content-Type": "application/json"}
    with Uploads(hasty, 4, b" " * (61 * 2**20), b" " * 2**14):
        until(lambda: hasty.post("/edits", content=large, headers=headers).status_code == 503)
        refused = hasty.post("/edits", content=large, headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:errata:problem:overloaded")
        assert int(refused.headers["retry-after"]) > 0
        assert hasty.post("/edits", json=body()).status_code == 202
    until(lambda: hasty.post("/edits", content=large, headers=headers).status_code == 202)
