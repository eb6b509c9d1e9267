"""Evaluations and traces: measuring versions, and tracing which layers recall a fact."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from errata_client import routes
from errata_client.errors import measurement_error
from errata_client.facts import FactInput
from errata_client.models import Evaluation, Trace
from errata_client.transport import AsyncTransport, Transport
from errata_client.vigil import Vigil

ZsreObject = Literal["alt", "answers"]


class Evaluations:
    """`errata.evaluations`: how versions answer about records. Every method may raise `ErrataError`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        records: Iterable[Mapping[str, Any]] | None = None,
        *,
        version: int | None = None,
        references: Iterable[Mapping[str, Any]] | None = None,
        zsre_object: ZsreObject = "alt",
        generation: bool = False,
        prose: bool = True,
        seed: int = 0,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> Evaluation:
        """Queue an evaluation; give its id to `wait`.

        `records`: CounterFact's or zsRE's; without them the version's own facts are measured. `version`: the active one
        by default, 0 is the base. `references`: entries of CounterFact's `attribute_snippets.json`, for consistency.
        `zsre_object`: what zsRE's records are edited in with. `generation`: generate texts, for fluency and
        consistency, with `seed`. `prose`: the perplexity on running text. Raises `Unprocessable` naming each bad
        record, `Conflict` where the version's weights are not there, `TooManyRequests` where the queue stays full.
        """
        request = routes.create_evaluation(
            records,
            references,
            idempotency_key,
            version=version,
            zsre_object=zsre_object,
            generation=generation,
            prose=prose,
            seed=seed,
            note=note,
        )
        return self._transport.send(request)

    def get(self, evaluation_id: str) -> Evaluation:
        """The evaluation as it stands now."""
        return self._transport.send(routes.get_evaluation(evaluation_id))

    def list(self, version: int | None = None) -> Iterator[Evaluation]:
        """All evaluations, or those of one version, newest first."""
        return self._transport.items(routes.list_evaluations(version))

    def wait(self, evaluation_id: str, *, progress: bool = True, timeout: float | None = None) -> Evaluation:
        """Wait until it ends, and return its final state.

        `progress` and `timeout` are as for an edit. Raises `MeasurementFailed` or `MeasurementCancelled` where it did
        not succeed, and `WaitTimedOut`.
        """
        with Vigil(progress, timeout) as vigil:
            evaluation = self.get(evaluation_id)
            while not evaluation.ended:
                evaluation = self._transport.send(routes.get_evaluation(evaluation_id, vigil.hold_s(evaluation)))
            return vigil.outcome(evaluation, measurement_error(evaluation))

    def cancel(self, evaluation_id: str) -> Evaluation:
        """Ask it to stop. One that runs ends at its next step."""
        return self._transport.send(routes.cancel_evaluation(evaluation_id))

    def cases(self, evaluation_id: str, to: str | PathLike[str]) -> Path:
        """Write what was measured of each record to the file `to`, a line of JSON for each, and return its path.

        As with `export`, it takes that name once it is whole. Raises `Conflict` until the evaluation has succeeded.
        """
        return self._transport.download(routes.evaluation_cases(evaluation_id), to)


class Traces:
    """`errata.traces`: causal traces of the base model. Every method may raise `ErrataError`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        facts: Iterable[FactInput] | None = None,
        *,
        prompt: str | None = None,
        subject: str | None = None,
        answer: str | None = None,
        window: int | None = None,
        noise_level: float = 3.0,
        num_samples: int = 10,
        severed_only: bool = False,
        seed: int = 0,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> Trace:
        """Queue a trace; give its id to `wait`.

        Either `prompt`, with `{}` where the `subject` stands, and maybe its `answer`; or `facts` that the model should
        know, over which effects are averaged and layers proposed. `window`: layers restored together (a third).
        `noise_level`: in standard deviations of the subjects' embeddings. `num_samples`: corrupted runs of each prompt.
        `severed_only`: only what the proposal needs. Raises `Unprocessable`, `TooManyRequests`.
        """
        request = routes.create_trace(
            facts,
            idempotency_key,
            prompt=prompt,
            subject=subject,
            answer=answer,
            window=window,
            noise_level=noise_level,
            num_samples=num_samples,
            severed_only=severed_only,
            seed=seed,
            note=note,
        )
        return self._transport.send(request)

    def get(self, trace_id: str) -> Trace:
        """The trace as it stands now."""
        return self._transport.send(routes.get_trace(trace_id))

    def list(self) -> Iterator[Trace]:
        """All traces, newest first."""
        return self._transport.items(routes.list_traces())

    def wait(self, trace_id: str, *, progress: bool = True, timeout: float | None = None) -> Trace:
        """As `Evaluations.wait`."""
        with Vigil(progress, timeout) as vigil:
            trace = self.get(trace_id)
            while not trace.ended:
                trace = self._transport.send(routes.get_trace(trace_id, vigil.hold_s(trace)))
            return vigil.outcome(trace, measurement_error(trace))

    def cancel(self, trace_id: str) -> Trace:
        """Ask it to stop. One that runs ends at its next step."""
        return self._transport.send(routes.cancel_trace(trace_id))

    def result(self, trace_id: str) -> dict[str, Any]:
        """All that was found, as `errata trace` writes it. Raises `Conflict` until the trace has succeeded."""
        return self._transport.send(routes.trace_result(trace_id))

    def figure(self, trace_id: str, name: str, to: str | PathLike[str]) -> Path:
        """Write one of the trace's `figures`, such as "severed.svg", to the file `to`, and return its path."""
        return self._transport.download(routes.trace_figure(trace_id, name), to)


class AsyncEvaluations:
    """`Evaluations` for asyncio."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        records: Iterable[Mapping[str, Any]] | None = None,
        *,
        version: int | None = None,
        references: Iterable[Mapping[str, Any]] | None = None,
        zsre_object: ZsreObject = "alt",
        generation: bool = False,
        prose: bool = True,
        seed: int = 0,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> Evaluation:
        request = routes.create_evaluation(
            records,
            references,
            idempotency_key,
            version=version,
            zsre_object=zsre_object,
            generation=generation,
            prose=prose,
            seed=seed,
            note=note,
        )
        return await self._transport.send(request)

    async def get(self, evaluation_id: str) -> Evaluation:
        return await self._transport.send(routes.get_evaluation(evaluation_id))

    def list(self, version: int | None = None) -> AsyncIterator[Evaluation]:
        return self._transport.items(routes.list_evaluations(version))

    async def wait(self, evaluation_id: str, *, progress: bool = True, timeout: float | None = None) -> Evaluation:
        with Vigil(progress, timeout) as vigil:
            evaluation = await self.get(evaluation_id)
            while not evaluation.ended:
                evaluation = await self._transport.send(routes.get_evaluation(evaluation_id, vigil.hold_s(evaluation)))
            return vigil.outcome(evaluation, measurement_error(evaluation))

    async def cancel(self, evaluation_id: str) -> Evaluation:
        return await self._transport.send(routes.cancel_evaluation(evaluation_id))

    async def cases(self, evaluation_id: str, to: str | PathLike[str]) -> Path:
        return await self._transport.download(routes.evaluation_cases(evaluation_id), to)


class AsyncTraces:
    """`Traces` for asyncio."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        facts: Iterable[FactInput] | None = None,
        *,
        prompt: str | None = None,
        subject: str | None = None,
        answer: str | None = None,
        window: int | None = None,
        noise_level: float = 3.0,
        num_samples: int = 10,
        severed_only: bool = False,
        seed: int = 0,
        note: str | None = None,
        idempotency_key: str | None = None,
    ) -> Trace:
        request = routes.create_trace(
            facts,
            idempotency_key,
            prompt=prompt,
            subject=subject,
            answer=answer,
            window=window,
            noise_level=noise_level,
            num_samples=num_samples,
            severed_only=severed_only,
            seed=seed,
            note=note,
        )
        return await self._transport.send(request)

    async def get(self, trace_id: str) -> Trace:
        return await self._transport.send(routes.get_trace(trace_id))

    def list(self) -> AsyncIterator[Trace]:
        return self._transport.items(routes.list_traces())

    async def wait(self, trace_id: str, *, progress: bool = True, timeout: float | None = None) -> Trace:
        with Vigil(progress, timeout) as vigil:
            trace = await self.get(trace_id)
            while not trace.ended:
                trace = await self._transport.send(routes.get_trace(trace_id, vigil.hold_s(trace)))
            return vigil.outcome(trace, measurement_error(trace))

    async def cancel(self, trace_id: str) -> Trace:
        return await self._transport.send(routes.cancel_trace(trace_id))

    async def result(self, trace_id: str) -> dict[str, Any]:
        return await self._transport.send(routes.trace_result(trace_id))

    async def figure(self, trace_id: str, name: str, to: str | PathLike[str]) -> Path:
        return await self._transport.download(routes.trace_figure(trace_id, name), to)
