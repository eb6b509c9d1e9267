"""A clock that can be moved for processes that are started with it (`clock_shim.c`)."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).with_name("clock_shim.c")

_built = TemporaryDirectory(prefix="errata-clock-")  # as long as the process


@cache
def library() -> Path | None:
    """Compile the library that moves the clock; return None where there is no compiler."""
    built = Path(_built.name) / "clock_shim.so"
    try:
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", built, SOURCE, "-ldl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return built


class Clock:
    """The time of day of the processes that have `environment`, which goes with everybody's until it is shifted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library()), "CLOCK_SHIFT": str(path)}

    def shift(self, seconds: int) -> None:
        """Put the clock so many seconds before everybody's, or behind it."""
        with self._path.open("r+b") as file:  # in place: it is mapped
            file.write(seconds.to_bytes(8, "little", signed=True))
