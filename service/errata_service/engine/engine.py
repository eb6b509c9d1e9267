"""The serving engine: a loop in a thread of its own in which requests join and leave between two steps."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from errata_registry.settings import Settings
from torch import Tensor

from errata.deltas import Delta, edited_weight
from errata.model import EditableModel
from errata_service.engine.key_values import Shape
from errata_service.engine.lane import Lane
from errata_service.engine.row import Row
from errata_service.engine.submission import Deliver, Submission
from errata_service.engine.tasks import Accepted, Failed, Task
from errata_service.engine.weight_sets import WeightSet, WeightSets
from errata_service.metrics import Metrics
from errata_service.problems import Busy, NotReady, ProblemError

# While something is under way that no step tells of, such as a version being loaded, deadlines are looked at so often.
LOOK_S = 0.1
# On a CPU, a product with a smaller matrix is over before other threads have taken their share of it.
WORTH_SHARING = 2**20
STOPPING = "the service is stopping"

Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swap:
    """How long a change of the active version took: `load_ms` to have its weights, `swap_ms` to put them in place."""

    load_ms: float
    swap_ms: float


class Engine:
    """Continues prompts with a resident model. Each is computed from start to end under one version.

    A step lets every row whose prompt is read go on by a token, version by version, and reads a bounded part of the
    prompts that wait. Between two steps new rows join, and those that have ended leave.

    Attributes:
        model: the base model; its edited matrices are swapped in by reference for each run. Nobody else runs it.
    """

    def __init__(
        self,
        model: EditableModel,
        load_deltas: Callable[[int], Mapping[int, Delta]],
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        """`load_deltas` reads a version's updates from storage."""
        self.model = model
        self._load_deltas = load_deltas
        self._settings = settings
        self._metrics = metrics
        self._end_ids = _end_ids(model)
        self._shape = Shape.of(model)
        # The base's own matrices, whatever the loop has put in their place: weight sets are made of them meanwhile.
        self._base = [model.weight(layer) for layer in range(model.num_layers)]
        self._weight_sets = WeightSets(self._weights_of, settings.weight_sets_bytes)
        self._active: WeightSet | None = None

        self._changed = threading.Condition()  # guards what follows, up to the loop's own
        self._open: list[Submission] = []
        self._without_weights: list[Submission] = []
        self._arrived: list[Submission] = []
        self._is_news = False  # whether the loop has something to look at
        self._stopping = False
        self._closed = False

        # The loop's own.
        self._waiting: deque[Row] = deque()
        self._reading: deque[Row] = deque()
        self._lanes: dict[int, Lane] = {}
        metrics.watch(waiting=lambda: self.num_waiting, running=lambda: self.num_running)
        self._thread = threading.Thread(target=self._run, name="generation")
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """How many tasks wait for their turn."""
        return sum(submission.num_waiting for submission in list(self._open))

    @property
    def num_running(self) -> int:
        """How many tasks are being computed."""
        return sum(len(lane.rows) for lane in list(self._lanes.values()))

    # Versions

    @property
    def active(self) -> int | None:
        """The version that requests use when they name none; None where it could not be loaded yet."""
        active = self._active
        return None if active is None else active.version

    def switch(self, version: int) -> Swap:
        """Load a version, then let new requests use it; what is being generated keeps its own.

        Raises:
            ArtifactError, UnknownVersion: it cannot be loaded; what was active stays so.
        """
        began = time.perf_counter()
        arriving = self._weight_sets.hold(version).result()
        loaded = time.perf_counter()
        with self._changed:
            leaving, self._active = self._active, arriving
        swapped = time.perf_counter()
        if leaving is not None:
            self._weight_sets.release(leaving)
        return Swap(load_ms=(loaded - began) * 1000, swap_ms=(swapped - loaded) * 1000)

    def _weights_of(self, version: int) -> Mapping[int, Tensor]:
        deltas = self._load_deltas(version)
        return {layer: edited_weight(layer, self._base[layer], delta) for layer, delta in deltas.items()}

    # Submissions: called from any thread

    def submit(self, tasks: Sequence[Task], version: int | None, deliver: Deliver, *, streamed: bool) -> Submission:
        """Accept tasks; their version is settled now, the active one where none is given.

        `deliver` is called from other threads: with `Accepted`, then what the tasks give, `Finished` for each of them;
        or, at any time, with `Failed`, and nothing after it. Where not `streamed`, there is no `Read` and no `Piece`.

        Raises:
            NotReady: no version was named and the active one could not be loaded; or the engine is stopping.
            Busy: as many tasks wait as may.
        """
        with self._changed:
            if self._stopping:
                raise NotReady(STOPPING)
            waiting, bound = self.num_waiting, self._settings.max_queued_generations
            if waiting and waiting + len(tasks) > bound:
                raise Busy(f"{waiting} prompts wait, and {len(tasks)} more would be more than {bound}; try again later")
            version = self.active if version is None else version
            if version is None:
                raise NotReady("the active version could not be loaded; name another version, or `base`")
            patience_s = self._settings.generation_timeout_s
            submission = Submission(tasks, version, deliver, streamed=streamed, patience_s=patience_s)
            self._open.append(submission)
            self._without_weights.append(submission)
            self._ask_for_weights()
            self._wake()
        return submission

    def cancel(self, submission: Submission) -> None:
        """Stop computing what nobody waits for any more; its rows are free at the next step."""
        with self._changed:
            submission.cancelled = True
            self._wake()

    def close(self, patience_s: float = 0) -> None:
        """Accept nothing more, and end: what has not ended within `patience_s` seconds fails as `NotReady`."""
        with self._changed:
            self._stopping = True
            self._changed.wait_for(lambda: not self._open, patience_s)
            self._closed = True
            self._wake()
        self._thread.join()
        self._weight_sets.close()

    def _wake(self) -> None:
        self._is_news = True
        self._changed.notify_all()

    def _ask_for_weights(self) -> None:
        """Hold the weights of those submissions that wait for them, as far as there is room for more."""
        waiting, self._without_weights = self._without_weights, []
        for submission in waiting:
            if self._weight_sets.has_room_for(submission.version):
                held = self._weight_sets.hold(submission.version)
                held.add_done_callback(partial(self._bring, submission))
            else:
                self._without_weights.append(submission)

    def _bring(self, submission: Submission, held: Future[WeightSet]) -> None:
        """The weights of a submission are there, or cannot be had."""
        error = held.exception()
        with self._changed:
            if submission not in self._open:  # it was closed meanwhile
                if error is None:
                    self._weight_sets.release(held.result())
                return
            if error is None:
                submission.held = held.result()
                self._arrived.append(submission)
            else:
                submission.error = error if isinstance(error, Exception) else RuntimeError(repr(error))
            self._wake()

    # The loop

    @torch.inference_mode()
    def _run(self) -> None:
        if self.model.device.type == "cpu" and self._base[0].numel() < WORTH_SHARING:
            torch.set_num_threads(1)  # MKL's are the whole process's
        going_on = True
        while going_on:
            try:
                going_on = self._prepare_step()
                if going_on:
                    self._step()
            except Exception as error:
                self._give_up(error)

    def _prepare_step(self) -> bool:
        """Let rows leave and join; waits until there are some to compute. False when the engine is closed.

        The lock, which those who submit wait for, is not held meanwhile.
        """
        while True:
            with self._changed:
                self._is_news = False
                self._ask_for_weights()
                arrived, self._arrived = self._arrived, []
            self._end_what_is_over()
            if self._closed:
                for submission in list(self._open):
                    self._end(submission, Failed(NotReady(STOPPING)))
                return False
            self._admit(arrived)
            if self._lanes:
                return True
            with self._changed:
                if not self._is_news:
                    self._changed.wait(LOOK_S if self._open else None)

    def _end_what_is_over(self) -> None:
        now = time.monotonic()
        for submission in list(self._open):
            if not submission.unfinished:
                self._end(submission)
            elif submission.cancelled:
                self._metrics.count_ended("cancelled", submission.unfinished)
                self._end(submission)
            elif submission.error is not None:
                self._metrics.count_ended("failed", submission.unfinished)
                self._end(submission, Failed(submission.error))
            elif now > submission.deadline:
                self._metrics.count_ended("timed-out", submission.unfinished)
                self._end(submission, Failed(_timed_out(self._settings.generation_timeout_s)))

    def _end(self, submission: Submission, failed: Failed | None = None) -> None:
        """Nothing is left of a submission afterwards."""
        if submission.unfinished:
            self._waiting = _without(self._waiting, submission)
            self._reading = _without(self._reading, submission)
            for lane in self._lanes.values():
                for row in [row for row in lane.rows if row.submission is submission]:
                    lane.remove(row)
            self._drop_empty_lanes()
        if failed is not None:
            submission.tell(failed)
        submission.deliver()
        with self._changed:
            self._open.remove(submission)
            if submission in self._without_weights:
                self._without_weights.remove(submission)
            if submission.held is not None:
                self._weight_sets.release(submission.held)
            self._changed.notify_all()

    def _admit(self, arrived: Sequence[Submission]) -> None:
        """Let rows join, in the order in which they came, as many as there is room for."""
        for submission in arrived:
            if submission in self._open:
                submission.tell(Accepted())
                submission.deliver()
                self._waiting += self._rows_of(submission)
        while self._waiting and self.num_running < self._settings.max_batch and self._make_room(self._waiting[0]):
            row = self._waiting.popleft()
            row.submission.num_waiting -= 1
            if row.submission.error is None:
                self._reading.append(row)

    def _rows_of(self, submission: Submission) -> list[Row]:
        try:
            return [Row(self.model, self._end_ids, submission, index) for index in range(len(submission.tasks))]
        except Exception as error:
            submission.error = StepFailed(error)
            return []

    def _make_room(self, row: Row) -> bool:
        """Put a row into its version's lane, where the memory suffices; there is always room for one row."""
        version, held = row.submission.version, row.submission.held
        assert held is not None
        lane = self._lanes.get(version) or Lane(self.model, self._shape, held.weights)
        others = [other for other in self._lanes.values() if other is not lane]
        budget = self._settings.key_values_bytes
        if sum(other.num_bytes for other in others) + lane.num_bytes_with(row) > budget:
            if sum(other.num_bytes_needed() for other in others) + lane.num_bytes_needed(row) > budget and self._lanes:
                return False
            for other in self._lanes.values():
                other.shrink()
        self._lanes[version] = lane
        if not _guarded(lane, lambda: lane.add(row)):
            row.submission.error = StepFailed()
        return True

    def _step(self) -> None:
        for lane in self._lanes.values():
            began = time.perf_counter()
            going = _guarded(lane, lane.decode)
            if going:
                self._metrics.note_step(going, time.perf_counter() - began)
        if self._reading:
            self._read()
        for lane in self._lanes.values():
            for row in [row for row in lane.rows if row.finish_reason]:
                self._metrics.count_ended(row.finish_reason or "", 1)
                lane.remove(row)
        self._drop_empty_lanes()
        for submission in list(self._open):
            submission.deliver()

    def _read(self) -> None:
        """Read a part of the prompts: the first in line, with as much of others of its version as the bound allows.

        What is not read to its end goes to the end of the line, so that a long prompt does not hold short ones up.
        """
        version = self._reading[0].submission.version
        lane, bound = self._lanes[version], self._settings.prefill_tokens
        parts: dict[Row, int] = {}
        width = 0
        for row in self._reading:
            wider = max(width, min(row.num_unread, bound))
            if row.submission.version == version and (not parts or (len(parts) + 1) * wider <= bound):
                parts[row] = min(row.num_unread, bound)
                width = wider
        begun = _guarded(lane, lambda: lane.read(parts)) or ()
        self._metrics.note_reading(begun, sum(parts.values()))
        self._reading = deque(
            [row for row in self._reading if row not in parts] + [row for row in parts if row.num_unread]
        )

    def _give_up(self, error: Exception) -> None:
        """Fail all that was accepted, since it is not known what has become of it, and begin anew."""
        log.exception("a step failed")
        self._lanes = {}
        for submission in list(self._open):
            submission.error = StepFailed(error)

    def _drop_empty_lanes(self) -> None:
        self._lanes = {version: lane for version, lane in self._lanes.items() if lane.rows}


class StepFailed(ProblemError):
    """What was computed for a submission could not be brought to its end."""

    def __init__(self, error: Exception | None = None) -> None:
        kind = f" ({type(error).__name__})" if error is not None else ""
        super().__init__(500, "step-failed", f"computing this failed{kind}; the service's log says more")


def _guarded(lane: Lane, compute: Callable[[], Result]) -> Result | None:
    """What `compute` gives; where it fails, all that is in the lane has failed, and the loop goes on."""
    try:
        return compute()
    except Exception as error:
        log.exception("computing failed")
        for row in lane.rows:
            row.submission.error = StepFailed(error)
        return None


def _without(rows: Iterable[Row], submission: Submission) -> deque[Row]:
    return deque(row for row in rows if row.submission is not submission)


def _timed_out(limit_s: float) -> ProblemError:
    return ProblemError(504, "timed-out", f"the generation did not end within {limit_s:g} s")


def _end_ids(model: EditableModel) -> frozenset[int]:
    """The tokens by which the model itself ends a text."""
    ends = model.network.generation_config.eos_token_id
    if ends is None:
        ends = model.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)
