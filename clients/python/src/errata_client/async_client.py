"""The client for asyncio. What the methods do is told at those of `Errata`."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from errata_client import routes
from errata_client.client import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT_S, DEFAULT_URL
from errata_client.edits import AsyncEdit
from errata_client.events import Event
from errata_client.facts import FactInput, FactReference
from errata_client.generation import GenerationEvent
from errata_client.measurements import AsyncEvaluations, AsyncTraces
from errata_client.models import (
    Activation,
    Diff,
    FactOutcome,
    FactRecord,
    Generation,
    Model,
    PastActivation,
    Probe,
    ProbesPut,
    Pruned,
    StoredFact,
    Version,
)
from errata_client.probes import ProbeInput
from errata_client.routes import ExportFormat, GenerationSettings, OnConflict
from errata_client.transport import AsyncTransport, Connection


class AsyncErrata:
    """`Errata` for asyncio: the same methods, awaited, and asynchronous iterators."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        max_retries: int = DEFAULT_MAX_RETRIES,
    ) -> None:
        self._transport = AsyncTransport(
            Connection(base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries)
        )
        self.evaluations = AsyncEvaluations(self._transport)
        self.traces = AsyncTraces(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def edit(
        self,
        facts: Iterable[FactInput] = (),
        *,
        retract: FactReference | Iterable[FactReference] = (),
        on_conflict: OnConflict = "replace",
        base: int | None = None,
        method: str = "memit",
        activate: bool = True,
        gate: Mapping[str, float | None] | None = None,
        hparams: Mapping[str, Any] | None = None,
        note: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> AsyncEdit:
        request = routes.create_edit(
            facts,
            retract,
            on_conflict,
            idempotency_key,
            base=base,
            method=method,
            activate=activate,
            gate=gate,
            hparams=hparams,
            note=note,
            dry_run=dry_run,
        )
        return AsyncEdit.bound(await self._transport.send(request), self._transport)

    async def retract(
        self,
        facts: FactReference | Iterable[FactReference],
        *,
        base: int | None = None,
        activate: bool = True,
        gate: Mapping[str, float | None] | None = None,
        note: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> AsyncEdit:
        request = routes.retract(
            facts, idempotency_key, base=base, activate=activate, gate=gate, note=note, dry_run=dry_run
        )
        return AsyncEdit.bound(await self._transport.send(request), self._transport)

    async def retry(
        self,
        edit_id: str,
        *,
        hparams: Mapping[str, Any] | None = None,
        base: int | None = None,
        activate: bool | None = None,
        gate: Mapping[str, float | None] | None = None,
        note: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> AsyncEdit:
        request = routes.retry(
            edit_id,
            idempotency_key,
            hparams=hparams,
            base=base,
            activate=activate,
            gate=gate,
            note=note,
            dry_run=dry_run,
        )
        return AsyncEdit.bound(await self._transport.send(request), self._transport)

    async def get_edit(self, edit_id: str) -> AsyncEdit:
        return AsyncEdit.bound(await self._transport.send(routes.get_edit(edit_id)), self._transport)

    def edits(self) -> AsyncIterator[AsyncEdit]:
        records = self._transport.items(routes.list_edits())
        return (AsyncEdit.bound(record, self._transport) async for record in records)

    def fact_outcomes(self, edit_id: str, took: bool | None = None) -> AsyncIterator[FactOutcome]:
        return self._transport.items(routes.list_fact_outcomes(edit_id, took))

    async def cancel(self, edit_id: str) -> AsyncEdit:
        return AsyncEdit.bound(await self._transport.send(routes.cancel_edit(edit_id)), self._transport)

    def events(self, edit_id: str, last_event_id: str | None = None) -> AsyncIterator[Event]:
        return self._transport.events(edit_id, last_event_id)

    async def generate(self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]) -> Generation:
        return await self._transport.send(routes.generate(prompt, settings))

    def stream(
        self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[GenerationEvent, None]:
        return self._transport.stream(prompt, settings)

    def versions(self) -> AsyncIterator[Version]:
        return self._transport.items(routes.list_versions())

    async def version(self, number: int) -> Version:
        return await self._transport.send(routes.get_version(number))

    async def activate(self, number: int) -> Activation:
        return await self._transport.send(routes.activate(number))

    async def rollback(self, to: int | None = None) -> Activation:
        return await self._transport.send(routes.rollback(to))

    async def delete_version(self, number: int) -> None:
        await self._transport.send(routes.delete_version(number))

    async def prune(self, keep_last: int, *, dry_run: bool = False) -> Pruned:
        return await self._transport.send(routes.prune(keep_last, dry_run))

    async def rebuild(self, number: int) -> AsyncEdit:
        return AsyncEdit.bound(await self._transport.send(routes.rebuild(number)), self._transport)

    async def diff(self, before: int, after: int) -> Diff:
        changes = [change async for change in self._transport.items(routes.diff(before, after))]
        return Diff.of(before, after, changes)

    async def export(self, number: int, to: str | PathLike[str], format: ExportFormat = "delta") -> Path:
        return await self._transport.download(routes.export(number, format), to)

    def activations(self) -> AsyncIterator[PastActivation]:
        return self._transport.items(routes.list_activations())

    async def aliases(self) -> dict[str, int]:
        return {alias.name: alias.version async for alias in self._transport.items(routes.list_aliases())}

    async def name_version(self, name: str, number: int) -> Version:
        return await self._transport.send(routes.name_version(name, number))

    async def take_name(self, name: str) -> None:
        await self._transport.send(routes.take_name(name))

    def facts(
        self,
        subject: str | None = None,
        relation: str | None = None,
        version: int | None = None,
        *,
        object: str | None = None,
        edit: str | None = None,
        by: str | None = None,
        text: str | None = None,
    ) -> AsyncIterator[StoredFact]:
        filters = {"subject": subject, "relation": relation, "object": object, "edit": edit, "by": by, "text": text}
        return self._transport.items(routes.list_facts(version=version, **filters))

    async def fact(self, fact_id: str, version: int | None = None) -> FactRecord:
        return await self._transport.send(routes.get_fact(fact_id, version))

    async def set_probes(self, probes: Iterable[ProbeInput]) -> ProbesPut:
        return await self._transport.send(routes.put_probes(probes))

    def probes(self) -> AsyncIterator[Probe]:
        return self._transport.items(routes.list_probes())

    async def model(self) -> Model:
        return await self._transport.send(routes.get_model())

    async def healthy(self) -> bool:
        return await self._transport.succeeds(routes.probe("healthz"))

    async def ready(self) -> bool:
        return await self._transport.succeeds(routes.probe("readyz"))
