"""Who is at work on a home folder: each process holds a file of it, so that it goes to a bucket only while none is.

What a process learnt at its start of how the folder commits holds until its end. Locks are shared over NFS, too, and go
with a process that is killed.
"""

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from errata.errors import Conflict

NAME = "in-use.lock"


class Occupied:
    """A home folder that a process is at work on, until `close` or its end."""

    def __init__(self, home: Path) -> None:
        """Make the folder where there is none. Raises `Conflict` while it is taken to a bucket."""
        self._release: Callable[[], object] = lambda: None
        with suppress(OSError):  # one that takes nothing is served all the same, and goes nowhere, either
            home.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(home / NAME, os.O_RDONLY | os.O_CREAT, 0o600)
            self._release = weakref.finalize(self, os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise Conflict(f"{home} is on its way to a bucket: wait until `errata to-bucket` has ended") from None

    def close(self) -> None:
        """Be at work there no more. It may be said twice."""
        self._release()


@contextmanager
def vacant(home: Path) -> Iterator[None]:
    """Keep all others from being at work on a home folder. Raises `Conflict` where one is."""
    descriptor = os.open(home / NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"processes of {home} run, services, workers or commands: end them first") from None
        yield
    finally:
        os.close(descriptor)
