"""Run the service: `python -m errata_service`. All it is told comes from `ERRATA_*` settings."""

import signal
import sys
import threading
from functools import partial
from types import FrameType

import uvicorn
from errata_registry import logs, telemetry
from errata_registry.api_keys import KeysFileError, OpenToOthers, read_keys, refuse_open_address
from errata_registry.home import keep_private
from errata_registry.settings import read_settings

from errata.errors import ErrataError
from errata_service.access import Access
from errata_service.app import create_app
from errata_service.connections import Bounds, Connection, room_for
from errata_service.replica import ServingReplica

GRACE_S = 5
# How long a thread may keep the interpreter while others wait: by default longer than what lies between two operations
# of a decode step, each of which would wait as long while a large request is checked.
THREAD_TURN_S = 0.0005


class Server(uvicorn.Server):
    """uvicorn, which, asked to end, lets the replica bring to an end what it generates; asked again, it ends at once.

    Meanwhile it answers, so that who asks whether the service is ready hears that it is not.
    """

    def __init__(self, config: uvicorn.Config, replica: ServingReplica) -> None:
        super().__init__(config)
        self._replica = replica

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._replica.draining.is_set():
            self._exit(sig, frame)
        else:
            self._replica.draining.set()
            threading.Thread(target=self._drain_and_exit, args=(sig, frame), name="draining", daemon=True).start()

    def _drain_and_exit(self, sig: int, frame: FrameType | None) -> None:
        try:
            self._replica.drain()
        finally:
            self._exit(sig, frame)

    def _exit(self, sig: int, frame: FrameType | None) -> None:
        self._replica.stopping.set()  # those who follow an edit would hold it up
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGINT or SIGTERM; exit with a sentence that says why where that is not possible."""
    sys.setswitchinterval(THREAD_TURN_S)

    def stop_server() -> None:
        server.should_exit = True

    try:
        settings = read_settings()
        logs.set_up(settings.log_format)
        telemetry.set_up("errata-service")
        settings = settings.model_copy(update={"max_connections": room_for(settings.max_connections)})
        refuse_open_address(settings)
        keep_private(settings.home)
        keys = read_keys(settings.keys_file) if settings.keys_file else None
        replica = ServingReplica(settings, on_failure=stop_server)
    except (OpenToOthers, KeysFileError, ErrataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    # Around what answers unforeseen errors, too, and so around the whole of FastAPI.
    app = Access(create_app(replica, keys), replica.metrics)
    bounds = Bounds(settings.max_connections, settings.request_timeout_s)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(Connection, bounds=bounds),  # type: ignore[arg-type]  # it is called, as a class would be
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config, replica)
    for ending in (signal.SIGINT, signal.SIGTERM):  # uvicorn sends itself again what it ended by
        signal.signal(ending, lambda *_: sys.exit(0))
    replica.metrics.watch_connections(lambda: len(server.server_state.connections))
    server.run()
    if replica.failure is not None:
        sys.exit(f"error: {replica.failure}")


if __name__ == "__main__":
    main()
