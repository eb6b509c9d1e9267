"""How long a bucket that does not answer is asked again."""

import secrets
import time
from collections.abc import Callable
from typing import TypeVar

from errata.files.disk import Refused

PATIENCE_S = 10.0
PAUSE_S = 0.2

Answer = TypeVar("Answer")


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask the bucket for what may be asked twice, until it answers. Raises `OSError` when patience is over."""
    until = deadline()
    while True:
        try:
            return ask()
        except Refused:
            if time.monotonic() > until:
                raise
            pause()


def deadline() -> float:
    """Return when patience is over that begins now, in seconds of the monotonic clock."""
    return time.monotonic() + PATIENCE_S


def pause() -> None:
    """Wait before the bucket is asked again, not as long as others do."""
    time.sleep(PAUSE_S * (1 + secrets.randbelow(100) / 100))
