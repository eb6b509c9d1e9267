"""Prometheus metrics of this process and of the edits in its registry."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

from errata_client.records import JobStatus
from errata_registry import keys
from errata_registry.jobs.folder import Taken
from errata_registry.registry import Registry
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from redis import RedisError

Computed = Literal["here", "server"]
"""Where a prompt is continued: by this process's engine, or by a server that its gateway passes it on to."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SHORT_SECONDS = (0.00001, 0.0001, *SECONDS)
COMPUTED = ["computed"]
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one process, in a Prometheus registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, buckets=SECONDS, registry=registry)
        self._requests = counter("errata_http_requests", "HTTP requests answered.", ["method", "route", "status"])
        self._waiting = gauge("errata_completions_waiting", "Prompts that wait to be continued.")
        self._running = gauge("errata_completions_running", "Prompts that are being continued.", COMPUTED)
        self._connections = gauge("errata_connections", "Connections of clients that are open.")
        self._followers = gauge("errata_followers", "Clients that follow jobs or wait for their end.")
        told = "Prompts that were continued, by how that ended."
        self._ended = counter("errata_completions", told, ["ended", *COMPUTED])
        self._prompt_tokens = counter("errata_prompt_tokens", "Tokens of prompts that were read.", COMPUTED)
        self._tokens = counter("errata_generated_tokens", "Tokens that were chosen.", COMPUTED)
        self._batch = histogram("errata_batch_size", "Rows that a decode step lets go on.", buckets=ROWS)
        self._step = histogram("errata_decode_step_seconds", "One decode step.")
        told = "From a request's acceptance to its first token."
        self._first = histogram("errata_time_to_first_token_seconds", told, COMPUTED)
        self._gap = histogram("errata_inter_token_seconds", "Between two tokens of a continuation.", COMPUTED)
        told = "Requests that a server refused, began and lost, or was silent about for too long."
        self._server_failures = counter("errata_server_failures", told, ["how"])
        self._load = histogram("errata_swap_load_seconds", "Loading the weights of a version that was made active.")
        self._swap = histogram(
            "errata_swap_seconds", "Putting loaded weights in the place of others.", buckets=SHORT_SECONDS
        )
        self._version = gauge("errata_version_served", "The version that requests use when they name none.")
        self._version.set(math.nan)  # none yet

    def watch(self, *, waiting: Callable[[], float], running: Callable[[], float]) -> None:
        """Call these for the number of waiting and running sequences at each scrape."""
        self._waiting.set_function(waiting)
        self._running.labels("here").set_function(running)

    def watch_servers(self, running: Callable[[], float]) -> None:
        """Call this for the number of prompts that servers continue at each scrape."""
        self._running.labels("server").set_function(running)

    def watch_connections(self, count: Callable[[], float]) -> None:
        """Call this for the number of open connections at each scrape."""
        self._connections.set_function(count)

    def watch_followers(self, count: Callable[[], float]) -> None:
        """Call this for the number of followers at each scrape."""
        self._followers.set_function(count)

    def watch_work(self, registry: Registry) -> None:
        """Count the jobs of a registry, its workers and what waits for one at each scrape."""
        self._registry.register(_Work(registry))

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count an answered HTTP request."""
        self._requests.labels(method if method in METHODS else "other", route, status).inc()

    def note_decode(self, gaps_s: Sequence[float], seconds: float) -> None:
        """Note a decode step, and for each sequence in it the time since its last token."""
        self._step.observe(seconds)
        self._batch.observe(len(gaps_s))
        self.note_gaps(gaps_s, "here")

    def note_gaps(self, gaps_s: Sequence[float], computed: Computed) -> None:
        """Note tokens by the time since the one before each in its sequence."""
        self._tokens.labels(computed).inc(len(gaps_s))
        for gap_s in gaps_s:
            self._gap.labels(computed).observe(gap_s)

    def note_prefill(self, num_tokens: int, first_tokens_s: Sequence[float], computed: Computed = "here") -> None:
        """Note computed prompt tokens, and the time to the first token of each sequence that got one."""
        self._prompt_tokens.labels(computed).inc(num_tokens)
        self._tokens.labels(computed).inc(len(first_tokens_s))
        for first_token_s in first_tokens_s:
            self._first.labels(computed).observe(first_token_s)

    def count_ended(self, how: str, count: int, computed: Computed = "here") -> None:
        """Count completions that ended by `stop`, `length`, `cancelled`, `timed-out` or `failed`."""
        self._ended.labels(how, computed).inc(count)

    def count_server_failure(self, how: Literal["refused", "lost", "silent"]) -> None:
        """Count a request that a server did not bring to its end; another one, or the engine, may have."""
        self._server_failures.labels(how).inc()

    def note_swap(self, version: int, load_ms: float, swap_ms: float) -> None:
        """Note that another version is served."""
        self._load.observe(load_ms / 1000)
        self._swap.observe(swap_ms / 1000)
        self._version.set(version)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Work(Collector):
    """Jobs by state, running edits by stage, workers, and the tasks that wait; nothing while Redis does not answer."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def describe(self) -> Iterator[Metric]:
        """Return nothing, so that registering does not ask Redis."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        try:
            by_status = {store.kind.name: store.count() for store in self._registry.stores}
            by_stage = self._registry.edits.count_stages()
            queue = self._registry.queue
            work, waits_s, ages_s = queue.workforce(), queue.waits_s(), queue.ages_s()
        except RedisError:
            return
        for kind, counts in by_status.items():
            yield _gauges(f"errata_{kind}s", f"Jobs of the kind {kind} by state.", "status", counts.items())
        yield _gauges("errata_edits_running", "Running edits by stage.", "stage", by_stage.items())
        busy = sum(worker.job is not None for worker in work.data)
        yield _gauges("errata_workers", "Live workers.", "state", [("busy", busy), ("idle", len(work.data) - busy)])
        waiting = {
            keys.EDIT_QUEUE: work.waiting_edits,
            keys.SHARD_QUEUE: work.waiting_shards,
            keys.MEASUREMENT_QUEUE: work.waiting_measurements,
        }
        yield _gauges("errata_tasks_waiting", "Tasks that wait for a worker.", "queue", waiting.items())
        yield _gauges(
            "errata_wait_seconds", "How long the task that is next in a queue has waited.", "queue", waits_s.items()
        )
        told = "How long ago the oldest job was accepted of which a task waits in a queue."
        yield _gauges("errata_oldest_waiting_seconds", told, "queue", ages_s.items())
        yield self._seconds_of_jobs()

    def _seconds_of_jobs(self) -> Metric:
        told = "From the beginning of a job to its end, of jobs that ended since this process began."
        family = SummaryMetricFamily("errata_job_seconds", told, labels=["kind", "status"])
        for store in self._registry.stores:
            taken = store.folder.taken()
            for status in filter(lambda one: one.final, JobStatus):
                jobs, seconds = taken.get(status, Taken())
                family.add_metric([store.kind.name, status], jobs, seconds)
        return family


def _gauges(name: str, told: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=[label])
    for of, value in values:
        family.add_metric([of], value)
    return family
