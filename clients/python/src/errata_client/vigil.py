"""Waiting for an edit, an evaluation or a trace to end."""

import math
import time
from types import TracebackType
from typing import Self, TypeVar

from errata_client.errors import ErrataError, WaitTimedOut
from errata_client.models import EditRecord, Measurement
from errata_client.progress import ProgressBar

J = TypeVar("J", bound=EditRecord | Measurement)

# The service holds an answer back until the end, or this long: short where a bar has to move.
HOLD_WITH_PROGRESS_S = 1
HOLD_S = 30


class Vigil:
    """One wait: what is shown, how long it lasts and how it ends."""

    def __init__(self, progress: bool, timeout: float | None) -> None:
        self._bar = ProgressBar() if progress else None
        self._timeout = timeout
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.close()

    def hold_s(self, job: EditRecord | Measurement) -> int:
        """Show how it stands; whole seconds to wait for its next state. Raises `WaitTimedOut`."""
        if self._bar:
            self._bar.show(job)
        longest = HOLD_WITH_PROGRESS_S if self._bar else HOLD_S
        if self._timeout is None:
            return longest
        left = self._timeout - (time.monotonic() - self._began)
        if left <= 0:
            raise WaitTimedOut(job, self._timeout)
        return min(longest, math.ceil(left))

    def outcome(self, job: J, error: ErrataError | None) -> J:
        """Show what ended and return it. Raises `error` where there is one."""
        if self._bar:
            self._bar.show(job)
        if error:
            raise error
        return job
