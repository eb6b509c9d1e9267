"""`/healthz` and `/readyz` of a follower, for whoever looks after processes.

A server that lags is not ready: a pod of vLLM and its follower then gets no requests.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from errata_service.vllm.follower import Follower


@contextmanager
def probes(follower: Follower) -> Iterator[None]:
    """Answer at the settings' host and port meanwhile. Raises `OSError` where that port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            obstacle = follower.obstacle if self.path == "/readyz" else None
            known = self.path in ("/healthz", "/readyz")
            body = json.dumps({"detail": obstacle or ("well" if known else "there are /healthz and /readyz")}).encode()
            self.send_response(404 if not known else 503 if obstacle else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: probes come every few seconds."""

    server = ThreadingHTTPServer((follower.settings.host, follower.settings.port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
