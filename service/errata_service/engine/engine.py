"""The serving engine: one thread that computes all requests step by step, whatever their versions."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import torch
from errata_registry.settings import Settings
from torch import Tensor

from errata.deltas import Delta, edited_weight
from errata.errors import DeviceFailed, ErrataError, NotServable
from errata.model import EditableModel
from errata.model.likelihood import gives_finite_numbers, require_device
from errata_service.engine.events import Accepted, Failed
from errata_service.engine.model_runner import ModelRunner
from errata_service.engine.request import Deliver, Request, SequenceInput, StepFailed, timed_out
from errata_service.engine.scheduler import Scheduler
from errata_service.engine.weight_sets import WeightSet, WeightSets
from errata_service.following import Swap
from errata_service.metrics import Metrics
from errata_service.problems import Busy, NotReady

# How often deadlines are checked while there is nothing to compute, for example while a version is loaded.
DEADLINE_CHECK_S = 0.1
# How long the device may have done nothing before `require_working` lets it run a token, and how long that may take.
IDLE_S = 10.0
TOKEN_S = 10.0
# On a CPU, a product with a smaller matrix is over before other threads have taken their share of it.
WORTH_SHARING = 2**20
STOPPING = "the service is stopping"

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Engine:
    """Generates with a resident model. Each request is computed from start to end under one version.

    A step decodes a token for every sequence whose prompt is prefilled, version by version, and prefills a bounded
    part of the other prompts. Sequences are admitted and removed between two steps.

    Attributes:
        model: the base model. The engine swaps edited matrices in by reference for each run, so nobody else runs it.
    """

    def __init__(
        self,
        model: EditableModel,
        load_deltas: Callable[[int], Mapping[int, Delta]],
        settings: Settings,
        metrics: Metrics,
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Start the thread.

        Args:
            load_deltas: reads a version's updates from storage.
            on_failure: called from the thread with a `DeviceFailed` once the device runs nothing any more.
        """
        self.model = model
        self._load_deltas = load_deltas
        self._settings = settings
        self._metrics = metrics
        self._on_failure = on_failure
        # The base's own matrices, from which weight sets are made while a run may have others in their place.
        self._base = [model.weight(layer) for layer in range(model.num_layers)]
        self._weight_sets = WeightSets(self._edited_weights, settings.weight_sets_bytes)
        self._active: WeightSet | None = None
        runner = ModelRunner(model, graph_bytes=settings.decode_graph_bytes, max_rows=settings.max_batch)
        self._scheduler = Scheduler(runner, settings)

        self._changed = threading.Condition()  # guards the following
        self._open: list[Request] = []  # those that have not ended
        self._between_steps: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._has_news = False  # tells the thread to look again before it sleeps
        self._worked_at = time.monotonic()
        self._stopping = False
        self._closed = False

        metrics.watch(waiting=lambda: self.num_waiting, running=lambda: self.num_running)
        self._thread = threading.Thread(target=self._run, name="generation")
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of sequences that are not admitted yet."""
        return sum(request.num_waiting for request in list(self._open))

    @property
    def num_running(self) -> int:
        """Number of sequences that are being computed."""
        return self._scheduler.num_running

    # Versions

    @property
    def active(self) -> int | None:
        """The version of requests that name none; None until the first `switch`."""
        active = self._active
        return None if active is None else active.version

    def switch(self, version: int) -> Swap:
        """Load a version and make it the active one. Requests that were accepted before keep theirs.

        Raises:
            UnknownVersion: there is no such version.
            ArtifactError: it cannot be loaded; `NotServable` where that is not for what is stored of it.
        """
        began = time.perf_counter()
        arriving = self._load(version)
        loaded = time.perf_counter()
        with self._changed:
            leaving, self._active = self._active, arriving
        swapped = time.perf_counter()
        if leaving is not None:
            self._weight_sets.release(leaving)
        swap = Swap(load_ms=(loaded - began) * 1000, swap_ms=(swapped - loaded) * 1000)
        self._metrics.note_swap(version, swap.load_ms, swap.swap_ms)
        return swap

    @contextmanager
    def holding(self, version: int) -> Iterator[None]:
        """Load a version and keep its weights in memory meanwhile. Raises as `switch`, which can follow at once."""
        held = self._load(version)
        try:
            yield
        finally:
            self._weight_sets.release(held)

    def _load(self, version: int) -> WeightSet:
        """Acquire a version's weights, and try them with a short prompt where nobody has yet."""
        held = None
        try:
            held = self._weight_sets.acquire(version).result()
            if held.weights and not held.is_tried:
                if not self.between_steps(partial(gives_finite_numbers, self.model, held.weights)).result():
                    raise NotServable(f"version {version} gives no finite numbers")
                held.is_tried = True
            return held
        except Exception as error:
            if held is not None:
                self._weight_sets.discard(held)
            if isinstance(error, ErrataError):
                raise
            log.exception("version %d cannot be loaded", version)
            raise NotServable(f"version {version} cannot be loaded: {type(error).__name__}: {error}") from error

    def _edited_weights(self, version: int) -> Mapping[int, Tensor]:
        deltas = self._load_deltas(version)
        return {layer: edited_weight(layer, self._base[layer], delta) for layer, delta in deltas.items()}

    def between_steps(self, work: Callable[[], Result]) -> Future[Result]:
        """Let the engine's thread do `work`, which may run the model, between two steps; it should be short.

        The future fails as `work` does, and with `NotReady` once the engine is closed.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                future.set_exception(NotReady(STOPPING))
            else:
                self._between_steps.append((work, future))
                self._wake()
        return future

    # Requests; called from any thread

    def submit(
        self, inputs: Sequence[SequenceInput], version: int | None, deliver: Deliver, *, streamed: bool
    ) -> Request:
        """Accept a request of one sequence for each input, under the active version if `version` is None.

        `deliver` is called from other threads: with `Accepted`, then with each sequence's events up to its `Finished`;
        or, at any time, with `Failed` and nothing after it. Unless `streamed`, there is no `Prefilled` and no
        `NewToken`.

        Raises:
            NotReady: the engine is stopping, or no version was named and none is active.
            Busy: too many sequences are waiting.
        """
        with self._changed:
            if self._stopping:
                raise NotReady(STOPPING)
            waiting, bound = self.num_waiting, self._settings.max_queued_generations
            if waiting and waiting + len(inputs) > bound:
                raise Busy(
                    f"{waiting} prompts wait, and {len(inputs)} more would be more than {bound}; try again later"
                )
            version = self.active if version is None else version
            if version is None:
                raise NotReady("the active version could not be loaded; name another version, or `base`")
            timeout_s = self._settings.generation_timeout_s
            request = Request(inputs, version, deliver, streamed=streamed, timeout_s=timeout_s)
            self._open.append(request)
            self._acquire_weights()
            self._wake()
        return request

    def cancel(self, request: Request) -> None:
        """Stop computing a request for which nobody waits any more. Its sequences leave before the next step."""
        with self._changed:
            request.cancelled = True
            self._wake()

    def require_working(self) -> None:
        """Raise `NotReady` where the device has run nothing for `IDLE_S` seconds, and no token within `TOKEN_S` now."""
        if time.monotonic() - self._worked_at < IDLE_S:
            return
        try:
            self.between_steps(self._run_token).result(TOKEN_S)
        except (DeviceFailed, TimeoutError) as error:
            idle_s = time.monotonic() - self._worked_at
            raise NotReady(f"{self.model.device} has run nothing for {idle_s:.0f} s") from error

    def close(self, patience_s: float = 0) -> None:
        """Accept no more requests and stop. Those that do not end within `patience_s` seconds fail as `NotReady`."""
        with self._changed:
            self._stopping = True
            self._changed.wait_for(lambda: not self._open, patience_s)
            self._closed = True
            self._wake()
        self._thread.join()
        self._weight_sets.close()

    def _wake(self) -> None:
        self._has_news = True
        self._changed.notify_all()

    def _acquire_weights(self) -> None:
        """Acquire weight sets for requests that have none, as far as there is room. The lock is held."""
        for request in self._open:
            if request.hold is None and self._weight_sets.has_room_for(request.version):
                request.hold = self._weight_sets.acquire(request.version)
                request.hold.add_done_callback(partial(self._note_loaded, request))

    def _note_loaded(self, request: Request, hold: Future[WeightSet]) -> None:
        with self._changed:
            if error := hold.exception():
                request.error = error if isinstance(error, Exception) else RuntimeError(repr(error))
            self._wake()

    # The thread

    @torch.inference_mode()
    def _run(self) -> None:
        if self.model.device.type == "cpu" and self._base[0].numel() < WORTH_SHARING:
            torch.set_num_threads(1)  # MKL's are the whole process's
        running = True
        while running:
            try:
                if running := self._wait_for_work():
                    self._step()
                    self._worked_at = time.monotonic()
            except Exception as error:
                self._give_up(error)

    def _wait_for_work(self) -> bool:
        """End and admit requests until there is something to compute; return False once the engine is closed.

        The lock is held for moments only, since those who submit wait for it.
        """
        while True:
            with self._changed:
                self._has_news = False
                self._acquire_weights()
            self._work_between_steps()
            self._end_requests()
            if self._closed:
                for request in list(self._open):
                    self._end(request, error=NotReady(STOPPING))
                self._work_between_steps()
                return False
            self._queue_requests()
            self._scheduler.admit()
            if self._scheduler.batches:
                return True
            with self._changed:
                if not self._has_news:
                    self._changed.wait(DEADLINE_CHECK_S if self._open else None)

    def _work_between_steps(self) -> None:
        with self._changed:
            waiting, self._between_steps = self._between_steps, []
        for work, future in waiting:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

    def _end_requests(self) -> None:
        """End the requests that are complete, cancelled, failed or too late."""
        now, step_failed = time.monotonic(), False
        for request in list(self._open):
            if not request.num_unfinished:
                self._end(request)
            elif request.cancelled:
                self._end(request, "cancelled")
            elif request.error is not None:
                step_failed |= isinstance(request.error, StepFailed)
                self._end(request, "failed", request.error)
            elif now > request.deadline:
                self._end(request, "timed-out", timed_out(self._settings.generation_timeout_s))
        if step_failed:
            with suppress(DeviceFailed):
                self._run_token()

    def _end(self, request: Request, outcome: str | None = None, error: Exception | None = None) -> None:
        """Remove a request from everywhere. Count its unfinished sequences under `outcome`; tell of `error`."""
        if outcome is not None:
            self._metrics.count_ended(outcome, request.num_unfinished)
        if request.num_unfinished:
            self._scheduler.remove(request)
        if error is not None:
            request.tell(Failed(error))
        request.deliver()
        with self._changed:
            self._open.remove(request)
            hold = request.hold
            self._wake()
        if hold is not None:
            hold.add_done_callback(self._release)  # at once, or as soon as it is loaded

    def _release(self, hold: Future[WeightSet]) -> None:
        if hold.exception() is None:
            self._weight_sets.release(hold.result())

    def _queue_requests(self) -> None:
        """Queue the sequences of requests whose weights have been loaded."""
        for request in list(self._open):
            hold = request.hold
            if request.weights is None and hold is not None and hold.done() and hold.exception() is None:
                self._queue(request, hold.result())

    def _queue(self, request: Request, weight_set: WeightSet) -> None:
        request.weights = weight_set.weights
        request.tell(Accepted())
        request.deliver()
        try:
            self._scheduler.add(request)
        except Exception as error:
            log.exception("a request could not be queued")
            request.error = StepFailed(error)

    def _step(self) -> None:
        """Decode every batch by a token, prefill some prompts, and deliver what came of it."""
        for batch in self._scheduler.batches.values():
            began = time.perf_counter()
            if decoded := batch.decode():
                latencies = [sequence.latency_s for sequence in decoded]
                self._metrics.note_decode(latencies, time.perf_counter() - began)
        if prefill := self._scheduler.next_prefill():
            batch, chunks = prefill
            started = batch.prefill(chunks)
            self._metrics.note_prefill(sum(chunks.values()), [sequence.latency_s for sequence in started])
        for finished in self._scheduler.remove_finished():
            self._metrics.count_ended(finished.finish_reason or "", 1)
        for request in list(self._open):
            request.deliver()

    def _run_token(self) -> None:
        """Make sure that the device still runs something. Raises `DeviceFailed`, once it was told of, where not."""
        try:
            require_device(self.model)
        except DeviceFailed as error:
            self._on_failure(error)
            raise
        self._worked_at = time.monotonic()

    def _give_up(self, error: Exception) -> None:
        """Fail every request, since nobody knows in what state it is, and start afresh."""
        log.exception("a step failed")
        self._scheduler.clear()
        for request in list(self._open):
            request.error = StepFailed(error)
