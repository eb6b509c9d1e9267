"""A lock that holds between threads and between processes, as long as a file's descriptor is open.

filelock would do this too, but polls for a lock that is taken, and where a file system knows no locks falls back to a
file whose presence is the lock, which a killed process leaves behind.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lock:
    """The lock that a file stands for. The thread that holds it may take it again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock and hold it. The operating system frees it when the process dies."""
        with self._threads:
            if self._depth:
                yield
                return
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._depth = 1
                yield
            finally:
                self._depth = 0
                os.close(descriptor)
