"""Processes that the command line looks after."""

import sys
import time
from pathlib import Path

from errata_cli.processes import keep_small, start, stop


def test_a_log_begins_anew_while_its_process_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "talker.log"
    talk = "import time\nwhile True: print('a line', flush=True); time.sleep(0.01)"
    process = start([sys.executable, "-c", talk], environment={}, log=log)
    try:
        grow(log, 1000)
        keep_small(log, 10_000)
        assert log.stat().st_size >= 1000
        keep_small(log, 500)
        assert log.with_name("talker.log.1").stat().st_size >= 1000
        grow(log, 100)
        assert set(log.read_text().splitlines()) == {"a line"}  # no gap of zeros where the old end was
    finally:
        stop(process, 5)


def grow(log: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while not log.exists() or log.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
