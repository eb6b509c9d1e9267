"""Follow with a vLLM server: `python -m errata_service.vllm`. All it is told comes from `ERRATA_*` settings."""

import signal
import sys

from errata_registry import logs, telemetry
from errata_registry.home import keep_private
from errata_registry.settings import read_settings

from errata.errors import ErrataError
from errata_service.vllm.follower import Follower, NotFollowing
from errata_service.vllm.probe import probes


def main() -> None:
    """Follow until SIGINT or SIGTERM; exit with a sentence that says why where that is not possible."""
    try:
        settings = read_settings()
        logs.set_up(settings.log_format)
        telemetry.set_up("errata-follower")
        keep_private(settings.home)
        follower = Follower(settings)
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, lambda *_: follower.stopping.set())
        with probes(follower):
            follower.run()
    except (NotFollowing, ErrataError, ValueError, OSError) as error:
        sys.exit(f"errata follow: {error}")


if __name__ == "__main__":
    main()
