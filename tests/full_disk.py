"""A disk that is full for one process: what Linux limits the size of its files to, set from outside."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Let a process write nothing to files meanwhile, if it lives that long: "File too large"."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)  # type: ignore[attr-defined, unused-ignore]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))  # type: ignore[attr-defined, unused-ignore]
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)  # type: ignore[attr-defined, unused-ignore]
