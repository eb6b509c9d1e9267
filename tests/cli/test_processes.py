"""Processes that the command line looks after."""

import sys
import time
from pathlib import Path

from errata_cli.processes import keep_small, last_lines, start, stop


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


def test_of_a_log_only_what_this_run_wrote_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert last_lines(log, since=0) == ""
    log.write_text("of the run before\n")
    before = log.stat().st_size
    assert last_lines(log, since=before) == ""
    log.write_text("of the run before\nfirst\nsecond\nthird\n")
    assert last_lines(log, count=2, since=before) == "second\nthird"
    log.write_text("anew\n")  # as `keep_small` lets it begin
    assert last_lines(log, since=before) == "anew"


def grow(log: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while not log.exists() or log.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
