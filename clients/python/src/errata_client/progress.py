"""A progress bar on a stream: one line drawn over and over on a terminal, a line for each stage elsewhere."""

import math
import shutil
import sys
from typing import TextIO

from errata_client.records import Edit, Job, JobStatus
from errata_client.tables import cut

BAR_WIDTH = 24


class ProgressBar:
    """Shows how far a job is. `close` must be called, so that what follows begins on a line of its own."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._stage = ""
        self._drawn = 0

    def show(self, job: Job) -> None:
        """Draw the state of the job."""
        if self._on_terminal:
            self._draw(job)
            return
        stage = _stage(job)
        if stage != self._stage:
            self._stage = stage
            self._stream.write(f"{job.id}  {stage}\n")
            self._stream.flush()

    def write(self, line: str) -> None:
        """Write a line above the bar."""
        self._clear()
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def close(self) -> None:
        """End the line of the bar."""
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = 0

    def _draw(self, job: Job) -> None:
        columns = shutil.get_terminal_size().columns - 1
        line = cut(_bar(job, columns), columns)
        self._stream.write("\r" + line.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(line)

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0


def _stage(job: Job) -> str:
    if job.status == JobStatus.RUNNING and job.progress:
        return job.progress.stage
    if isinstance(job, Edit) and job.version is not None:
        if job.status == JobStatus.SUCCEEDED:
            return f"succeeded: version {job.version}"
        if job.status == JobStatus.REJECTED:
            return f"rejected: version {job.version} does not serve"
    return job.status


def _bar(job: Job, columns: int) -> str:
    """Return the line of a job: where it is narrow, the bar is what gives way."""
    progress = job.progress
    if job.status != JobStatus.RUNNING or progress is None:
        return f"{job.id}  {_stage(job)}"
    begin = f"{job.id}  {progress.stage:<8} "
    end = f"{progress.done}/{progress.total}"
    if progress.eta_s is not None:
        end += f"  about {_duration(progress.eta_s)} left"
    width = min(BAR_WIDTH, columns - len(begin) - len(end) - len("[] "))
    if width < 1:
        return begin + end
    filled = width * progress.done // progress.total if progress.total else 0
    return f"{begin}[{'#' * filled}{'.' * (width - filled)}] {end}"


def _duration(seconds: float) -> str:
    """Say a duration no more exactly than it can be known: in seconds, minutes or hours."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
