"""The client: every route of the service as a method."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from errata_client import routes
from errata_client.edits import Edit
from errata_client.events import Event
from errata_client.facts import FactInput, FactReference
from errata_client.generation import GenerationEvent
from errata_client.measurements import Evaluations, Traces
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
from errata_client.transport import Connection, Transport

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_MAX_RETRIES = 2


class Errata:
    """A client of one Errata service. Use it as a context manager, or call `close`.

    `timeout`: seconds for each try of a request. `max_retries`: tries after the first, made where no answer
    came or the service asks for it (429, 500, 502, 503), and where trying again can do no harm. Raises
    `ValueError` for arguments that cannot be used. Every method may raise `ErrataError` (see `errors`).
    `evaluations` and `traces` have the routes of the same names.
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
        self.evaluations = Evaluations(self._transport)
        self.traces = Traces(self._transport)

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
    ) -> Edit:
        """Queue an edit; `.wait()` on what is returned follows it to its end.

        `facts`: each a `Fact`, a mapping or a (subject, relation, object) tuple. `retract`: facts to withdraw in
        the same step, as in `retract`. `on_conflict`: where a fact is there with another object, "replace" it, or
        raise `Conflict` naming it ("error"). What it replaces is told in the edit's `changes`. `base`: the version
        to build on (the active one). `activate`: serve the new version if it passes its `gate` (`min_efficacy`,
        `min_specificity`, `max_drift`). The same `idempotency_key` gives the same edit for 24 hours; one is
        made up where none is given. Raises `InvalidFacts` before anything is sent, `Unprocessable` naming
        what the service refuses, `TooManyRequests` where its queue stays full.
        """
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
        return Edit.bound(self._transport.send(request), self._transport)

    def retract(
        self,
        facts: FactReference | Iterable[FactReference],
        *,
        base: int | None = None,
        activate: bool = True,
        gate: Mapping[str, float | None] | None = None,
        note: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Edit:
        """Queue an edit that withdraws facts: the model answers then as it did before they were put in.

        `facts`: one or several, each the id of a fact or what tells of it (a `StoredFact`, a `FactChange`). The
        rest is as for `edit`. Raises `NotFound` naming the ids that the version does not hold.
        """
        request = routes.retract(
            facts, idempotency_key, base=base, activate=activate, gate=gate, note=note, dry_run=dry_run
        )
        return Edit.bound(self._transport.send(request), self._transport)

    def retry(
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
    ) -> Edit:
        """Queue an edit that searches again, and harder, for those facts of an edit's version that did not take.

        `hparams`: what to search with (`num_steps`, `learning_rate`, `clamp`, `weight_decay`, `kl_factor`,
        `stop_loss`); without any, a stronger search than they had. Other facts about the same subjects share it.
        `base`, `activate` and `gate` are those of the edit where they are not given. Raises `Conflict` where the
        edit has not ended or made no version, where all of its facts took, and where some that did not are others now.
        """
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
        return Edit.bound(self._transport.send(request), self._transport)

    def get_edit(self, edit_id: str) -> Edit:
        """The edit as it stands now."""
        return Edit.bound(self._transport.send(routes.get_edit(edit_id)), self._transport)

    def edits(self) -> Iterator[Edit]:
        """All edits, newest first."""
        return (Edit.bound(record, self._transport) for record in self._transport.items(routes.list_edits()))

    def fact_outcomes(self, edit_id: str, took: bool | None = None) -> Iterator[FactOutcome]:
        """How each fact of the edit's version took: all of them, or those that `took`, or, with False, did not.

        Raises `Conflict` where none was measured.
        """
        return self._transport.items(routes.list_fact_outcomes(edit_id, took))

    def cancel(self, edit_id: str) -> Edit:
        """Ask a queued or running edit to stop. It may take a moment: `.wait()` on what is returned."""
        return Edit.bound(self._transport.send(routes.cancel_edit(edit_id)), self._transport)

    def events(self, edit_id: str, last_event_id: str | None = None) -> Iterator[Event]:
        """What happens to the edit, until it ends. Goes on where it was when the connection breaks.

        `last_event_id`: begin after this event (`event.id`).
        """
        return self._transport.events(edit_id, last_event_id)

    def generate(self, prompt: str | Sequence[str], **settings: Unpack[GenerationSettings]) -> Generation:
        """Continue one prompt (`.text`) or several (`.texts`), with the active version or the one given (its number,
        a name of it or "base").

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
        """Drop a version's weights. Raises `Conflict` for the active one and for one with a name.

        A try after a lost answer may find the version gone already: `NotFound`.
        """
        self._transport.send(routes.delete_version(number))

    def prune(self, keep_last: int, *, dry_run: bool = False) -> Pruned:
        """Drop the weights of all versions but the `keep_last` newest, the active one, the one that `rollback` would
        go to, and those with a name. Their facts stay, and `rebuild` builds their weights again.

        `dry_run`: only tell what would be dropped. A try after a lost answer tells only what was left to drop.
        """
        return self._transport.send(routes.prune(keep_last, dry_run))

    def rebuild(self, number: int) -> Edit:
        """Build the dropped weights of a version again; `.wait()` as for an edit.

        Raises `Conflict` where the weights are there.
        """
        return Edit.bound(self._transport.send(routes.rebuild(number)), self._transport)

    def diff(self, before: int, after: int) -> Diff:
        """What must be done to the facts of version `before` to get those of `after`, whichever came first."""
        return Diff.of(before, after, self._transport.items(routes.diff(before, after)))

    def export(self, number: int, to: str | PathLike[str], format: ExportFormat = "delta") -> Path:
        """Write a version to the tar file `to`, and return its path.

        `format`: "delta" (the update as low-rank factors), "lora" (a PEFT adapter) or "merged" (the whole
        checkpoint). It is written piece by piece beside `to` and takes that name once it is whole; what was there
        is replaced then. `timeout` holds for each piece. Raises `ConnectionFailed` where the connection breaks,
        after new tries only if nothing was written yet, and `OSError` where `to` cannot be written.
        """
        return self._transport.download(routes.export(number, format), to)

    def activations(self) -> Iterator[PastActivation]:
        """Which version served when, newest first. The base served before the first of them."""
        return self._transport.items(routes.list_activations())

    def aliases(self) -> dict[str, int]:
        """The version that each name stands for."""
        return {alias.name: alias.version for alias in self._transport.items(routes.list_aliases())}

    def name_version(self, name: str, number: int) -> Version:
        """Let a name stand for a version, whatever it stood for before. What has a name is never dropped.

        A name is a letter, then letters, digits, - and _; not "base" or "active".
        """
        return self._transport.send(routes.name_version(name, number))

    def take_name(self, name: str) -> None:
        """Take a name away; the version stays.

        A try after a lost answer may find the name gone already: `NotFound`.
        """
        self._transport.send(routes.take_name(name))

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
    ) -> Iterator[StoredFact]:
        """The facts of the active version, or of `version`: all, or those that pass every filter.

        `subject`, `relation` and `object` are compared without regard to spacing; `edit`: the facts got their
        object from this edit; `by`: it was sent with the key of this name; `text`: this is in one of the parts,
        in any case.
        """
        filters = {"subject": subject, "relation": relation, "object": object, "edit": edit, "by": by, "text": text}
        return self._transport.items(routes.list_facts(version=version, **filters))

    def fact(self, fact_id: str, version: int | None = None) -> FactRecord:
        """One fact as the active version, or `version`, holds it, with its `history` in all versions.

        Where that version does not hold it (`held` is false), it is shown as it was when it was last in one.
        Raises `NotFound` where no version ever held it.
        """
        return self._transport.send(routes.get_fact(fact_id, version))

    def set_probes(self, probes: Iterable[ProbeInput]) -> ProbesPut:
        """Put these probes, each a `Probe`, a mapping or a (prompt, answer) tuple, in place of those that were there.

        Every version that is built from now on must pass all of them, or it is rejected. The answer's `failing` are
        those that the version that serves fails itself. Raises `InvalidFacts` where one has another form, naming each.
        """
        return self._transport.send(routes.put_probes(probes))

    def probes(self) -> Iterator[Probe]:
        """The probes, in the order in which they were put."""
        return self._transport.items(routes.list_probes())

    def model(self) -> Model:
        """The base model that is edited."""
        return self._transport.send(routes.get_model())

    def healthy(self) -> bool:
        """Whether the service is alive, from one try."""
        return self._transport.succeeds(routes.probe("healthz"))

    def ready(self) -> bool:
        """Whether the service is able to serve, from one try."""
        return self._transport.succeeds(routes.probe("readyz"))
