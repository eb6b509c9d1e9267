"""The two clients. Each route of the service is one method here, written once for both."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from errata_client.events import Event
from errata_client.facts import Fact, FactInput, FactReference, ProbeInput, fact_bodies, fact_ids, probe_bodies
from errata_client.generation import (
    GenerationEvent,
    MessageInput,
    chat_request,
    generate_request,
    generation_events,
)
from errata_client.jobs import (
    AsyncEdit,
    AsyncEvaluationJob,
    AsyncTraceJob,
    Edit,
    EvaluationJob,
    FollowedJob,
    Jobs,
    TraceJob,
)
from errata_client.measurements import AsyncEvaluations, AsyncTraces, Evaluations, Traces
from errata_client.network import AsyncNetwork, BlockingNetwork, Network
from errata_client.operations import Asynchronous, Blocking, iteration, operation
from errata_client.options import EditOptions, GenerationSettings, OnConflict, VersionName, checked, given
from errata_client.records import (
    CheckedFacts,
    FactOutcome,
    FactRecord,
    Generation,
    KeyScopes,
    Model,
    NumberedProbe,
    ProbesPut,
    Ready,
    StoredFact,
    Workforce,
)
from errata_client.requests import Request, lists, quoted, version_path
from errata_client.transport import DEFAULT_URL as DEFAULT_URL, Connection, Transport, url_of_service
from errata_client.versions import VersionOperations

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_MAX_RETRIES = 2

E = TypeVar("E", bound=FollowedJob)


class Operations(VersionOperations, Generic[E]):
    """What both clients can do. Every method may raise `ErrataError`."""

    _edit_type: type[E]
    _network_type: type[Network]

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        max_retries: int = DEFAULT_MAX_RETRIES,
    ) -> None:
        url = url_of_service(base_url)
        connection = Connection(base_url=url, api_key=api_key, timeout=timeout, max_retries=max_retries)
        self._transport = Transport(connection, self._network_type)
        self._edits = Jobs(self._transport, self._edit_type)

    @operation
    async def close(self) -> None:
        """Close the connections."""
        await self._transport.network.close()

    @operation
    async def edit(
        self,
        facts: Iterable[FactInput] = (),
        *,
        retract: FactReference | Iterable[FactReference] = (),
        on_conflict: OnConflict = "replace",
        idempotency_key: str | None = None,
        **options: Unpack[EditOptions],
    ) -> E:
        """Queue an edit; `.wait()` on what is returned follows it to its end.

        `facts`: each a `Fact`, a mapping or a (subject, relation, object) tuple. `retract`: facts to withdraw in the
        same step, as in `retract`. `on_conflict`: where a fact is there with another object, "replace" it, or raise
        `Conflict` naming it ("error"). What it replaces is told in the edit's `changes`. `options`: any of `base`,
        `method`, `activate`, `gate`, `partial`, `tries`, `hparams`, `note` and `dry_run`, as `EditOptions` tells. The
        same `idempotency_key` gives the same edit for 24 hours; one is made up where none is given. Raises
        `InvalidFacts` before anything is sent, `Unprocessable` naming what the service refuses, `TooManyRequests` where
        its queue stays full.
        """
        body = {"facts": fact_bodies(facts), "retract": fact_ids(retract) or None, **checked(options, EditOptions)}
        return await self._edits.create(body, idempotency_key, query={"on_conflict": on_conflict})

    @operation
    async def retract(
        self,
        facts: FactReference | Iterable[FactReference],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[EditOptions],
    ) -> E:
        """Queue an edit that withdraws facts: the model answers then as it did before they were put in.

        `facts`: one or several, each the id of a fact or what tells of it (a `StoredFact`, a `FactChange`). The rest is
        as for `edit`. Raises `NotFound` naming the ids that the version does not hold.
        """
        body = {"ids": fact_ids(facts), **checked(options, EditOptions)}
        return await self._edits.create(body, idempotency_key, path="/facts/retract")

    @operation
    async def retry(self, edit_id: str, *, idempotency_key: str | None = None, **options: Unpack[EditOptions]) -> E:
        """Queue an edit that searches again, and harder, for those facts of an edit's version that did not take.

        `hparams`: what to search with (`num_steps`, `learning_rate`, `clamp`, `weight_decay`, `kl_factor`,
        `stop_loss`, `stop_margin`, `boundary_factor`); without any, a stronger search than they had. Other facts about
        the same subjects share it. `base`, `activate` and `gate` are those of the edit where they are not given; its
        `method` stays. Raises `Conflict` where the edit has not ended or made no version, where all of its facts took,
        and where some that did not are others now.
        """
        path = f"{self._edits.path_of(edit_id)}/retry"
        return await self._edits.create(checked(options, EditOptions), idempotency_key, path=path)

    @operation
    async def rebuild(self, version: VersionName) -> E:
        """Build the dropped weights of a version again; `.wait()` as for an edit.

        Raises `Conflict` where the weights are there.
        """
        return await self._edits.create(None, path=f"{version_path(version)}/rebuild")

    @operation
    async def get_edit(self, edit_id: str) -> E:
        """Return the edit as it is now."""
        return await self._edits.get(edit_id)

    @iteration
    def edits(self) -> AsyncGenerator[E, None]:
        """Yield all edits, newest first."""
        return self._edits.list()

    @operation
    async def cancel(self, edit_id: str) -> E:
        """Ask a queued or running edit to stop. It may take a moment: `.wait()` on what is returned."""
        return await self._edits.cancel(edit_id)

    @iteration
    def events(self, edit_id: str, last_event_id: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield what happens to the edit, until it ends. Go on where it was when the connection breaks.

        `last_event_id`: begin after this event (`event.id`).
        """
        return self._edits.events(edit_id, last_event_id)

    @iteration
    def fact_outcomes(self, edit_id: str, took: bool | None = None) -> AsyncGenerator[FactOutcome, None]:
        """Yield how each fact of the edit's version took: all of them, or those that `took`, or, with False, did not.

        Raises `Conflict` where none was measured.
        """
        filters = {} if took is None else {"took": "true" if took else "false"}
        return self._transport.items(lists(f"{self._edits.path_of(edit_id)}/facts", FactOutcome, filters))

    @operation
    async def generate(self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]) -> Generation:
        """Continue one prompt (`.text`) or several (`.texts`), with the active version or another one.

        `settings`: any of `version`, `max_new_tokens`, `temperature`, `top_p`, `top_k`, `repetition_penalty`, `seed`
        and `stop`, as `GenerationSettings` tells; by default the service is greedy.
        """
        return await self._transport.send(generate_request(prompt, settings))

    @iteration
    def stream(
        self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Yield what `generate` returns token by token: a `GeneratedToken` for each, a `GenerationEnd` for each prompt.

        The request is sent when the first event is asked for, and not again once an event has come: after that, raises
        `ConnectionFailed` where the connection breaks and `StatusError` where the service cannot go on. Close it, or
        leave the loop over it, and the service drops the rest.
        """
        num_prompts = 1 if isinstance(prompt, str) else len(prompt)
        return generation_events(self._transport, generate_request(prompt, settings), num_prompts)

    @operation
    async def chat(self, messages: str | Iterable[MessageInput], **settings: Unpack[GenerationSettings]) -> Generation:
        """Answer a conversation (`.text`) through the model's own chat template, up to the end of the turn.

        `messages`: each a `Message`, a mapping with `role` ("system", "user" or "assistant") and `content`, or a (role,
        content) tuple; a text alone is a user's. `settings` are those of `generate`. Raises `Unprocessable` where the
        model has no chat template (`model().has_chat_template`) and where its template refuses the messages.
        """
        return await self._transport.send(chat_request(messages, settings))

    @iteration
    def stream_chat(
        self, messages: str | Iterable[MessageInput], **settings: Unpack[GenerationSettings]
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Yield what `chat` returns token by token, as `stream` does."""
        return generation_events(self._transport, chat_request(messages, settings), num_prompts=1)

    @iteration
    def facts(
        self,
        subject: str | None = None,
        relation: str | None = None,
        version: VersionName | None = None,
        *,
        object: str | None = None,
        edit: str | None = None,
        by: str | None = None,
        text: str | None = None,
    ) -> AsyncGenerator[StoredFact, None]:
        """Yield the facts of the active version, or of `version`: all, or those that pass every filter.

        `subject`, `relation` and `object` are compared without regard to spacing; `edit`: the facts got their object
        from this edit; `by`: it was sent with the key of this name; `text`: this is in one of the parts, in any case.
        """
        filters: dict[str, Any] = {"version": version, "subject": subject, "relation": relation, "object": object}
        filters |= {"edit": edit, "by": by, "text": text}
        return self._transport.items(lists("/facts", StoredFact, filters))

    @operation
    async def fact(self, fact_id: str, version: VersionName | None = None) -> FactRecord:
        """Return one fact as the active version, or `version`, holds it, with its `history` in all versions.

        Where that version does not hold it (`held` is false), it is shown as it was when it was last in one. Raises
        `NotFound` where no version ever held it.
        """
        query = {} if version is None else {"version": version}
        return await self._transport.send(Request(path=f"/facts/{quoted(fact_id)}", answer=FactRecord, query=query))

    @operation
    async def check_facts(
        self, records: Iterable[FactInput | Sequence[str]], version: VersionName | None = None
    ) -> CheckedFacts:
        """Look at facts before they are sent: what is wrong with each, and what it would change in a version (the
        active one). Nothing is changed, and what is at fault is told, not raised.

        `records`: each as `edit` takes it, or in the form of CounterFact, zsRE or EasyEdit; 10,000 at most.
        """
        bodies = [fact_bodies([record])[0] if isinstance(record, Fact) else record for record in records]
        body = given({"records": bodies, "version": version})
        return await self._transport.send(Request(method="POST", path="/facts/check", answer=CheckedFacts, body=body))

    @operation
    async def set_probes(self, probes: Iterable[ProbeInput]) -> ProbesPut:
        """Put these probes, each a `Probe`, a mapping or a (prompt, answer) tuple, in place of those that were there.

        Every version that is built from now on must pass all of them, or it is rejected. The answer's `failing` are
        those that the version that serves fails itself. Raises `InvalidFacts` where one has another form, naming each.
        """
        body = {"probes": probe_bodies(probes)}
        return await self._transport.send(Request(method="PUT", path="/probes", answer=ProbesPut, body=body))

    @iteration
    def probes(self) -> AsyncGenerator[NumberedProbe, None]:
        """Yield the probes, in the order in which they were put."""
        return self._transport.items(lists("/probes", NumberedProbe))

    @operation
    async def model(self) -> Model:
        """Return the base model that is edited."""
        return await self._transport.send(Request(path="/model", answer=Model))

    @operation
    async def workers(self) -> Workforce:
        """Return the live workers with the job that each has in hand, and how many tasks wait for one."""
        return await self._transport.send(Request(path="/workers", answer=Workforce))

    @operation
    async def key(self) -> KeyScopes:
        """Return the name of the key that this client sends, and what it may do."""
        return await self._transport.send(Request(path="/key", answer=KeyScopes))

    @iteration
    def keys(self) -> AsyncGenerator[KeyScopes, None]:
        """Yield all keys of the service by name, with what each may do; none where it asks nobody for a key."""
        return self._transport.items(lists("/keys", KeyScopes))

    @operation
    async def status(self) -> Ready:
        """Return which version serves, and what is out of order. Raises `Unavailable` where nothing can be served."""
        return await self._transport.send(Request(path="/readyz", answer=Ready))

    @operation
    async def healthy(self) -> bool:
        """Return True if the service is alive, from one try."""
        return await self._transport.succeeds("/healthz")

    @operation
    async def ready(self) -> bool:
        """Return True if the service is able to serve, from one try."""
        return await self._transport.succeeds("/readyz")


class Errata(Operations[Edit], Blocking):
    """A client of one Errata service. Use it as a context manager, or call `close`.

    `timeout`: seconds for each try of a request. `max_retries`: tries after the first, made where no answer came or the
    service asks for it (429, 500, 502, 503), and where trying again can do no harm. Raises `ValueError` for arguments
    that cannot be used. Every method may raise `ErrataError` (see `errors`).
    """

    _edit_type = Edit
    _network_type = BlockingNetwork

    @cached_property
    def evaluations(self) -> Evaluations:
        """Evaluations: how versions answer about records."""
        return Evaluations(self._transport, EvaluationJob)

    @cached_property
    def traces(self) -> Traces:
        """Causal traces of the base model."""
        return Traces(self._transport, TraceJob)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncErrata(Operations[AsyncEdit], Asynchronous):
    """`Errata` for asyncio: the same methods, awaited, and asynchronous iterators."""

    _edit_type = AsyncEdit
    _network_type = AsyncNetwork

    @cached_property
    def evaluations(self) -> AsyncEvaluations:
        """Evaluations: how versions answer about records."""
        return AsyncEvaluations(self._transport, AsyncEvaluationJob)

    @cached_property
    def traces(self) -> AsyncTraces:
        """Causal traces of the base model."""
        return AsyncTraces(self._transport, AsyncTraceJob)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
