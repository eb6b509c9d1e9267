"""A peer that speaks the contract's bytes over real HTTP, for what a real service does not do on demand."""

import json
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol


@dataclass
class Answer:
    """What the peer does with one request. `drops`: it closes the connection instead of going on.

    `lacks`: so many bytes are announced that never come after the `body`.
    `hung_up` is set where the client closes the connection before it has all of the `chunks`.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    after_s: float = 0.0
    holds_open_s: float = 0.0
    drops: bool = False
    lacks: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)


@dataclass
class Received:
    """A request that came to the peer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Server(ThreadingHTTPServer):
    """A server that is not upset by clients which hang up: some tests do."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Peer:
    """An HTTP server that gives the answers it was told to give, in order, and keeps what it received."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.received: list[Received] = []
        self._server = Server(("127.0.0.1", 0), self._handler(), bind_and_activate=False)
        self._server.server_bind()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def listen(self) -> None:
        """Take connections; until then they are refused."""
        self._server.server_activate()
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.loads(content) if content else None
                peer.received.append(Received(self.command, self.path, dict(self.headers), body))
                answer = peer.answers.pop(0)
                time.sleep(answer.after_s)
                if answer.drops and answer.chunks is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.chunks is None:
                    self._send_whole(answer.body, answer.lacks)
                else:
                    self._send_chunks(answer)

            def _send_whole(self, body: object, lacks: int) -> None:
                content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
                self.send_header("Content-Length", str(len(content) + lacks))
                self.end_headers()
                self.wfile.write(content)
                self.close_connection |= lacks > 0

            def _send_chunks(self, answer: Answer) -> None:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    for chunk in answer.chunks or []:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                        self.wfile.flush()
                except ConnectionError:
                    answer.hung_up.set()
                    raise
                time.sleep(answer.holds_open_s)
                if answer.drops:
                    self.close_connection = True
                elif not answer.holds_open_s:
                    self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


class Call(Protocol):
    """Calls a method of a client, such as "evaluations.get", then maybe one of what that gives, and returns all that it
    yields."""

    def __call__(
        self, method: str, *args: Any, then: str | None = None, client: Mapping[str, Any] = {}, **options: Any
    ) -> Any: ...


def problem(status: int, title: str, detail: str, **more: Any) -> dict[str, Any]:
    """A problem document."""
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
