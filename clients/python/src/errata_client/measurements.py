"""Evaluations and traces: measuring versions, and tracing which layers recall a fact."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Generic, Unpack

from errata_client.events import Event
from errata_client.facts import FactInput, fact_bodies
from errata_client.jobs import (
    AsyncEvaluationJob,
    AsyncTraceJob,
    EvaluationJob,
    J,
    Jobs,
    TraceJob,
)
from errata_client.operations import Asynchronous, Blocking, iteration, operation
from errata_client.options import EvaluationOptions, TraceOptions, VersionName, checked
from errata_client.requests import Request, quoted
from errata_client.transport import Transport


class MeasurementOperations(Generic[J]):
    """What can be asked of evaluations and of traces."""

    def __init__(self, transport: Transport, kind: type[J]) -> None:
        self._transport = transport
        self._jobs = Jobs(transport, kind)

    @operation
    async def get(self, job_id: str) -> J:
        """Return it as it is now."""
        return await self._jobs.get(job_id)

    @operation
    async def wait(self, job_id: str, *, progress: bool = True, timeout: float | None = None) -> J:
        """Wait until it ends, and return its final state, as its own `wait` does."""
        return await self._jobs.wait(await self._jobs.get(job_id), progress, timeout)

    @operation
    async def cancel(self, job_id: str) -> J:
        """Ask it to stop. One that runs ends at its next step."""
        return await self._jobs.cancel(job_id)

    @iteration
    def events(self, job_id: str, last_event_id: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield what happens to it until it ends, as its own `events` does."""
        return self._jobs.events(job_id, last_event_id)


class EvaluationOperations(MeasurementOperations[J]):
    """How versions answer about records. Every method may raise `ErrataError`."""

    @operation
    async def create(
        self,
        records: Iterable[Mapping[str, Any]] | None = None,
        *,
        references: Iterable[Mapping[str, Any]] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[EvaluationOptions],
    ) -> J:
        """Queue an evaluation; `.wait()` on what is returned follows it to its end.

        `records`: those of CounterFact, zsRE, EasyEdit, QAEdit, WikiBigEdit or MQuAKE; without them the version's own
        facts are measured. `references`: entries of CounterFact's `attribute_snippets.json`, for consistency.
        `options`: any of `version`, `zsre_object`, `generation`, `prose`, `honest`, `seed` and `note`, as
        `EvaluationOptions` tells. Raises `Unprocessable` naming each bad record, `Conflict` where the version's weights
        are not there, `TooManyRequests` where the queue stays full.
        """
        body = {
            "records": None if records is None else list(records),
            "references": None if references is None else list(references),
            **checked(options, EvaluationOptions),
        }
        return await self._jobs.create(body, idempotency_key)

    @iteration
    def list(self, version: VersionName | None = None) -> AsyncGenerator[J, None]:
        """Yield all evaluations, or those of one version, newest first."""
        return self._jobs.list(version=version)

    @operation
    async def cases(self, evaluation_id: str, to: str | PathLike[str]) -> Path:
        """Write what was measured of each record to the file `to`, a line of JSON for each, and return its path.

        As with `export`, it takes that name once it is whole. Raises `Conflict` until the evaluation has succeeded.
        """
        path = f"{self._jobs.path_of(evaluation_id)}/cases"
        return await self._transport.download(Request(path=path, answer=NoneType, accepts="application/x-ndjson"), to)


class TraceOperations(MeasurementOperations[J]):
    """Causal traces of the base model. Every method may raise `ErrataError`."""

    @operation
    async def create(
        self,
        facts: Iterable[FactInput] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[TraceOptions],
    ) -> J:
        """Queue a trace; `.wait()` on what is returned follows it to its end.

        Either a `prompt` about a `subject`, or `facts` that the model should know, over which effects are averaged and
        layers proposed. `options`: those, `answer`, `window`, `noise_level`, `num_samples`, `severed_only`, `seed` and
        `note`, as `TraceOptions` tells. Raises `Unprocessable`, `TooManyRequests`.
        """
        body = {"facts": None if facts is None else fact_bodies(facts), **checked(options, TraceOptions)}
        return await self._jobs.create(body, idempotency_key)

    @iteration
    def list(self) -> AsyncGenerator[J, None]:
        """Yield all traces, newest first."""
        return self._jobs.list()

    @operation
    async def result(self, trace_id: str) -> dict[str, Any]:
        """Return all that was found, as `errata trace` writes it. Raises `Conflict` until the trace has succeeded."""
        return await self._transport.send(Request(path=f"{self._jobs.path_of(trace_id)}/result", answer=dict[str, Any]))

    @operation
    async def figure(self, trace_id: str, name: str, to: str | PathLike[str]) -> Path:
        """Write one of the trace's `figures`, such as "severed.svg", to the file `to`, and return its path."""
        path = f"{self._jobs.path_of(trace_id)}/figures/{quoted(name)}"
        kind = "image/png" if name.endswith(".png") else "image/svg+xml"
        return await self._transport.download(Request(path=path, answer=NoneType, accepts=kind), to)


class Evaluations(EvaluationOperations[EvaluationJob], Blocking):
    """`errata.evaluations`."""


class AsyncEvaluations(EvaluationOperations[AsyncEvaluationJob], Asynchronous):
    """`Evaluations` for asyncio."""


class Traces(TraceOperations[TraceJob], Blocking):
    """`errata.traces`."""


class AsyncTraces(TraceOperations[AsyncTraceJob], Asynchronous):
    """`Traces` for asyncio."""
