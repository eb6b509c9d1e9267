"""A request in the engine's hands: its tasks, its version, and the way back to whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from errata_service.engine.tasks import Event, Task
from errata_service.engine.weight_sets import WeightSet

Deliver = Callable[[Sequence[Event]], None]


class Submission:
    """Tasks that are computed under one version, settled when they were accepted.

    Attributes:
        tasks: what is to be done.
        version: under which.
        streamed: whether each token is told.
        accepted_at, deadline: moments of `time.monotonic`.
        num_waiting: how many tasks wait for their turn.
        unfinished: how many have not ended.
        cancelled: nobody waits for it any more.
        error: why it failed, once it has.
        held: the version's weights, once they are there.
    """

    def __init__(
        self, tasks: Sequence[Task], version: int, deliver: Deliver, *, streamed: bool, patience_s: float
    ) -> None:
        self.tasks = tasks
        self.version = version
        self.streamed = streamed
        self.accepted_at = time.monotonic()
        self.deadline = self.accepted_at + patience_s
        self.num_waiting = self.unfinished = len(tasks)
        self.cancelled = False
        self.error: Exception | None = None
        self.held: WeightSet | None = None
        self._deliver = deliver
        self._news: list[Event] = []

    def tell(self, event: Event) -> None:
        """Add to what is delivered next."""
        self._news.append(event)

    def deliver(self) -> None:
        """Hand over what there is to tell."""
        if self._news:
            news, self._news = self._news, []
            self._deliver(news)
