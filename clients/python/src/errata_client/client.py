"""The clients: every route of the service as a method."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from errata_client import routes
from errata_client.edits import AsyncEdit, Edit
from errata_client.events import Event
from errata_client.facts import FactInput
from errata_client.generation import GenerationEvent
from errata_client.models import Activation, Generation, Model, StoredFact, Version
from errata_client.routes import GenerationSettings
from errata_client.transport import AsyncTransport, Connection, Transport

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_MAX_RETRIES = 2


class Errata:
    """A client of one Errata service. Use it as a context manager, or call `close`.

    `timeout`: seconds for each try of a request. `max_retries`: tries after the first, made where no answer
    came or the service asks for it (429, 500, 502, 503), and where trying again can do no harm. Raises
    `ValueError` for arguments that cannot be used. Every method may raise `ErrataError` (see `errors`).
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        max_retries: int = DEFAULT_MAX_RETRIES,
    ) -> None:
        self._transport = Transport(
            Connection(base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def edit(
        self,
        facts: Iterable[FactInput],
        *,
        base: int | None = None,
        method: str = "memit",
        activate: bool = True,
        gate: Mapping[str, float | None] | None = None,
        hparams: Mapping[str, Any] | None = None,
        note: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Edit:
        """Queue an edit; `.wait()` on what is returned follows it to its end.

        `facts`: each a `Fact`, a mapping or a (subject, relation, object) tuple. `base`: the version to build
        on (the active one). `activate`: serve the new version if it passes its `gate` (`min_efficacy`,
        `min_specificity`, `max_drift`). The same `idempotency_key` gives the same edit for 24 hours; one is
        made up where none is given. Raises `InvalidFacts` before anything is sent, `Unprocessable` naming
        what the service refuses, `TooManyRequests` where its queue stays full.
        """
        request = routes.create_edit(
            facts,
            idempotency_key=idempotency_key,
            base=base,
            method=method,
            activate=activate,
            gate=gate,
            hparams=hparams,
            note=note,
            dry_run=dry_run,
        )
        return Edit.bound(self._transport.send(request), self._transport)

    def get_edit(self, edit_id: str) -> Edit:
        """The edit as it stands now."""
        return Edit.bound(self._transport.send(routes.get_edit(edit_id)), self._transport)

    def edits(self) -> Iterator[Edit]:
        """All edits, newest first."""
        return (Edit.bound(record, self._transport) for record in self._transport.items(routes.list_edits()))

    def cancel(self, edit_id: str) -> Edit:
        """Ask a queued or running edit to stop. It may take a moment: `.wait()` on what is returned."""
        return Edit.bound(self._transport.send(routes.cancel_edit(edit_id)), self._transport)

    def events(self, edit_id: str, last_event_id: str | None = None) -> Iterator[Event]:
        """What happens to the edit, until it ends. Goes on where it was when the connection breaks.

        `last_event_id`: begin after this event (`event.id`).
        """
        return self._transport.events(edit_id, last_event_id)

    def generate(self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]) -> Generation:
        """Continue one prompt (`.text`) or several (`.texts`), with the active version or the one given.

        `settings`: any of `version`, `max_new_tokens`, `temperature`, `top_p`, `top_k`, `repetition_penalty`,
        `seed` and `stop`, as `GenerationSettings` tells; by default the service is greedy.
        """
        return self._transport.send(routes.generate(prompt, settings))

    def stream(
        self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]
    ) -> Generator[GenerationEvent, None, None]:
        """As `generate`, token by token: a `GeneratedToken` for each, and a `GenerationEnd` for each prompt.

        The request is sent when the first event is asked for, and not again once an event has come: after
        that, raises `ConnectionFailed` where the connection breaks and `StatusError` where the service cannot
        go on. Close it, or leave the loop over it, and the service drops the rest.
        """
        return self._transport.stream(prompt, settings)

    def versions(self) -> Iterator[Version]:
        """All versions; pages are fetched as they are needed."""
        return self._transport.items(routes.list_versions())

    def version(self, number: int) -> Version:
        """One version; 0 is the base model."""
        return self._transport.send(routes.get_version(number))

    def activate(self, number: int) -> Activation:
        """Serve this version from now on. Raises `Unavailable` where a replica does not follow in time."""
        return self._transport.send(routes.activate(number))

    def rollback(self, to: int | None = None) -> Activation:
        """Serve the version that was active before, or version `to`.

        Without `to` it is sent again only while it surely did not arrive, since each call goes further back.
        After a `ConnectionFailed` with `may_have_arrived`, look which of `versions` is active.
        """
        return self._transport.send(routes.rollback(to))

    def delete_version(self, number: int) -> None:
        """Drop a version's weights. Raises `Conflict` for the active one.

        A try after a lost answer may find the version gone already: `NotFound`.
        """
        self._transport.send(routes.delete_version(number))

    def facts(
        self, subject: str | None = None, relation: str | None = None, version: int | None = None
    ) -> Iterator[StoredFact]:
        """The facts of the active version, or of `version`: all, or those with this subject and relation.

        The service compares them without regard to spacing; with `version` they are compared here, exactly.
        """
        if version is None:
            return self._transport.items(routes.list_facts(subject, relation))
        # The service filters the active version's facts only.
        found = self._transport.items(routes.list_version_facts(version))
        return (fact for fact in found if fact.matches(subject, relation))

    def model(self) -> Model:
        """The base model that is edited."""
        return self._transport.send(routes.get_model())

    def healthy(self) -> bool:
        """Whether the service is alive, from one try."""
        return self._transport.succeeds(routes.probe("healthz"))

    def ready(self) -> bool:
        """Whether the service is able to serve, from one try."""
        return self._transport.succeeds(routes.probe("readyz"))


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
        facts: Iterable[FactInput],
        *,
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
            idempotency_key=idempotency_key,
            base=base,
            method=method,
            activate=activate,
            gate=gate,
            hparams=hparams,
            note=note,
            dry_run=dry_run,
        )
        return AsyncEdit.bound(await self._transport.send(request), self._transport)

    async def get_edit(self, edit_id: str) -> AsyncEdit:
        return AsyncEdit.bound(await self._transport.send(routes.get_edit(edit_id)), self._transport)

    def edits(self) -> AsyncIterator[AsyncEdit]:
        records = self._transport.items(routes.list_edits())
        return (AsyncEdit.bound(record, self._transport) async for record in records)

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

    def facts(
        self, subject: str | None = None, relation: str | None = None, version: int | None = None
    ) -> AsyncIterator[StoredFact]:
        if version is None:
            return self._transport.items(routes.list_facts(subject, relation))
        found = self._transport.items(routes.list_version_facts(version))
        return (fact async for fact in found if fact.matches(subject, relation))

    async def model(self) -> Model:
        return await self._transport.send(routes.get_model())

    async def healthy(self) -> bool:
        return await self._transport.succeeds(routes.probe("healthz"))

    async def ready(self) -> bool:
        return await self._transport.succeeds(routes.probe("readyz"))
