"""The routes of the service, each defined once: what is sent, what comes back, whether it may be repeated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

from errata_client.facts import FactInput, FactReference, fact_bodies, fact_ids
from errata_client.models import (
    Activation,
    Alias,
    EditRecord,
    Evaluation,
    FactChange,
    FactOutcome,
    FactRecord,
    Generation,
    Model,
    Page,
    PastActivation,
    Probe,
    ProbesPut,
    Pruned,
    Record,
    StoredFact,
    Trace,
    Version,
)
from errata_client.probes import ProbeInput, probe_bodies

T = TypeVar("T")
R = TypeVar("R", bound=Record)

PAGE_SIZE = 100
# A comparison is always read to its end, and made anew for each part of it.
DIFF_PAGE_SIZE = 1000
# An activation is answered once every replica has followed, or has been waited for this long.
ACTIVATION_HOLD_S = 60.0
EVENT_STREAM: Mapping[str, str] = {"Accept": "text/event-stream"}
# Weights do not become smaller when they are packed.
TAR: Mapping[str, str] = {"Accept": "application/x-tar", "Accept-Encoding": "identity"}

OnConflict = Literal["replace", "error"]
ExportFormat = Literal["delta", "lora", "merged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[T]):
    """One request and the type of its answer.

    `repeatable`: sending it twice does no more than sending it once. `hold_s`: seconds for which the server
    may hold the answer back, on top of the client's timeout.
    """

    method: str
    path: str
    answer: type[T]
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    hold_s: float = 0.0


class GenerationSettings(TypedDict, total=False):
    """How a prompt is continued. What is not given, or is None, is the service's default.

    `version`: a version's number, a name of it or "base" (the active version). `max_new_tokens`: the longest
    completion. `temperature`: 0 is greedy, and the default. `top_p` and `top_k`: choose among the likeliest tokens
    only. `repetition_penalty`: above 1, tokens that are there already become less likely. `seed`: each prompt's
    own draws begin from it. `stop`: one text or several, before which a completion ends.
    """

    version: int | str | None
    max_new_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    repetition_penalty: float | None
    seed: int | None
    stop: str | Sequence[str] | None


def create_edit(
    facts: Iterable[FactInput],
    retract: FactReference | Iterable[FactReference],
    on_conflict: OnConflict,
    idempotency_key: str | None,
    **settings: object,
) -> Request[EditRecord]:
    withdrawn = fact_ids(retract)
    body = {"facts": fact_bodies(facts), "retract": withdrawn or None, **settings}
    return _new_edit("/edits", body, idempotency_key, query={"on_conflict": on_conflict})


def retract(
    facts: FactReference | Iterable[FactReference], idempotency_key: str | None, **settings: object
) -> Request[EditRecord]:
    return _new_edit("/facts/retract", {"ids": fact_ids(facts), **settings}, idempotency_key)


def retry(edit_id: str, idempotency_key: str | None, **settings: object) -> Request[EditRecord]:
    return _new_edit(f"{_edit_path(edit_id)}/retry", settings, idempotency_key)


def rebuild(number: int) -> Request[EditRecord]:
    return _new_edit(f"/versions/{number:d}/rebuild", None, None)


def list_edits() -> Request[Page[EditRecord]]:
    return _list("/edits", EditRecord)


def get_edit(edit_id: str, wait_s: int = 0) -> Request[EditRecord]:
    return _awaited(_edit_path(edit_id), EditRecord, wait_s)


def edit_events(edit_id: str, last_event_id: str | None) -> Request[None]:
    headers = EVENT_STREAM if last_event_id is None else {**EVENT_STREAM, "Last-Event-ID": last_event_id}
    return Request(method="GET", path=f"{_edit_path(edit_id)}/events", answer=NoneType, headers=headers)


def list_fact_outcomes(edit_id: str, took: bool | None) -> Request[Page[FactOutcome]]:
    filters = {} if took is None else {"took": "true" if took else "false"}
    return _list(f"{_edit_path(edit_id)}/facts", FactOutcome, filters)


def put_probes(probes: Iterable[ProbeInput]) -> Request[ProbesPut]:
    return Request(method="PUT", path="/probes", answer=ProbesPut, body={"probes": probe_bodies(probes)})


def list_probes() -> Request[Page[Probe]]:
    return _list("/probes", Probe)


def cancel_edit(edit_id: str) -> Request[EditRecord]:
    return Request(method="POST", path=f"{_edit_path(edit_id)}/cancel", answer=EditRecord)


def generate(prompt: str | Sequence[str], settings: GenerationSettings) -> Request[Generation]:
    return Request(method="POST", path="/generate", answer=Generation, body=_generation(prompt, settings))


def stream(prompt: str | Sequence[str], settings: GenerationSettings) -> Request[None]:
    body = {**_generation(prompt, settings), "stream": True}
    return Request(method="POST", path="/generate", answer=NoneType, body=body, headers=EVENT_STREAM)


def list_versions() -> Request[Page[Version]]:
    return _list("/versions", Version)


def get_version(number: int) -> Request[Version]:
    return Request(method="GET", path=f"/versions/{number:d}", answer=Version)


def activate(number: int) -> Request[Activation]:
    path = f"/versions/{number:d}/activate"
    return Request(method="POST", path=path, answer=Activation, hold_s=ACTIVATION_HOLD_S)


def rollback(to: int | None) -> Request[Activation]:
    # Without `to` each call goes one version further back, so it must not be sent twice.
    body = {} if to is None else {"to": to}
    return Request(
        method="POST",
        path="/rollback",
        answer=Activation,
        body=body,
        repeatable=to is not None,
        hold_s=ACTIVATION_HOLD_S,
    )


def delete_version(number: int) -> Request[None]:
    return Request(method="DELETE", path=f"/versions/{number:d}", answer=NoneType)


def prune(keep_last: int, dry_run: bool) -> Request[Pruned]:
    body = {"keep_last": keep_last, "dry_run": dry_run}
    return Request(method="POST", path="/versions/prune", answer=Pruned, body=body)


def diff(before: int, after: int) -> Request[Page[FactChange]]:
    return _list(f"/versions/{before:d}/diff/{after:d}", FactChange, page_size=DIFF_PAGE_SIZE)


def export(number: int, format: ExportFormat) -> Request[None]:
    path = f"/versions/{number:d}/export"
    return Request(method="GET", path=path, answer=NoneType, query={"format": format}, headers=TAR)


def list_activations() -> Request[Page[PastActivation]]:
    return _list("/activations", PastActivation)


def list_aliases() -> Request[Page[Alias]]:
    return _list("/aliases", Alias)


def name_version(name: str, number: int) -> Request[Version]:
    return Request(method="PUT", path=_alias_path(name), answer=Version, body={"version": number})


def take_name(name: str) -> Request[None]:
    return Request(method="DELETE", path=_alias_path(name), answer=NoneType)


def list_facts(**filters: str | int | None) -> Request[Page[StoredFact]]:
    return _list("/facts", StoredFact, filters)


def get_fact(fact_id: str, version: int | None) -> Request[FactRecord]:
    query = _given({"version": version})
    return Request(method="GET", path=f"/facts/{quote(fact_id, safe='')}", answer=FactRecord, query=query)


def create_evaluation(
    records: Iterable[Mapping[str, Any]] | None,
    references: Iterable[Mapping[str, Any]] | None,
    idempotency_key: str | None,
    **settings: object,
) -> Request[Evaluation]:
    body = {
        "records": None if records is None else list(records),
        "references": None if references is None else list(references),
        **settings,
    }
    return _created("/evaluations", Evaluation, body, idempotency_key)


def list_evaluations(version: int | None) -> Request[Page[Evaluation]]:
    return _list("/evaluations", Evaluation, {"version": version})


def get_evaluation(evaluation_id: str, wait_s: int = 0) -> Request[Evaluation]:
    return _awaited(_evaluation_path(evaluation_id), Evaluation, wait_s)


def cancel_evaluation(evaluation_id: str) -> Request[Evaluation]:
    return Request(method="POST", path=f"{_evaluation_path(evaluation_id)}/cancel", answer=Evaluation)


def evaluation_cases(evaluation_id: str) -> Request[None]:
    path = f"{_evaluation_path(evaluation_id)}/cases"
    return Request(method="GET", path=path, answer=NoneType, headers={"Accept": "application/x-ndjson"})


def create_trace(facts: Iterable[FactInput] | None, idempotency_key: str | None, **settings: object) -> Request[Trace]:
    body = {"facts": None if facts is None else fact_bodies(facts), **settings}
    return _created("/traces", Trace, body, idempotency_key)


def list_traces() -> Request[Page[Trace]]:
    return _list("/traces", Trace)


def get_trace(trace_id: str, wait_s: int = 0) -> Request[Trace]:
    return _awaited(_trace_path(trace_id), Trace, wait_s)


def cancel_trace(trace_id: str) -> Request[Trace]:
    return Request(method="POST", path=f"{_trace_path(trace_id)}/cancel", answer=Trace)


def trace_result(trace_id: str) -> Request[dict[str, Any]]:
    return Request(method="GET", path=f"{_trace_path(trace_id)}/result", answer=dict[str, Any])


def trace_figure(trace_id: str, name: str) -> Request[None]:
    path = f"{_trace_path(trace_id)}/figures/{quote(name, safe='')}"
    kind = "image/png" if name.endswith(".png") else "image/svg+xml"
    return Request(method="GET", path=path, answer=NoneType, headers={"Accept": kind})


def get_model() -> Request[Model]:
    return Request(method="GET", path="/model", answer=Model)


def probe(name: Literal["healthz", "readyz"]) -> Request[None]:
    return Request(method="GET", path=f"/{name}", answer=NoneType)


def page_after(request: Request[Page[R]], page: Page[R]) -> Request[Page[R]] | None:
    """The request for what follows `page`, or None where it was the last."""
    if not page.has_more or page.next is None:
        return None
    return replace(request, query={**request.query, "after": page.next})


def _new_edit(
    path: str, body: Mapping[str, object] | None, idempotency_key: str | None, query: Mapping[str, str] = {}
) -> Request[EditRecord]:
    return _created(path, EditRecord, body, idempotency_key, query)


def _created(
    path: str,
    answer: type[R],
    body: Mapping[str, object] | None,
    idempotency_key: str | None,
    query: Mapping[str, str] = {},
) -> Request[R]:
    # The key is always sent: it is what makes a retry safe, since the same key never makes a second one.
    return Request(
        method="POST",
        path=path,
        answer=answer,
        query=query,
        body=None if body is None else _given(body),
        headers={"Idempotency-Key": idempotency_key or str(uuid4())},
    )


def _awaited(path: str, answer: type[R], wait_s: int) -> Request[R]:
    query = {"wait": wait_s} if wait_s else {}
    return Request(method="GET", path=path, answer=answer, query=query, hold_s=wait_s)


def _list(
    path: str, item: type[R], filters: Mapping[str, str | int | None] = {}, page_size: int = PAGE_SIZE
) -> Request[Page[R]]:
    query = {"limit": page_size, **_given(filters)}
    # The type checker does not see that a page can be made for a type that is known only here.
    return Request(method="GET", path=path, answer=Page[item], query=query)  # type: ignore[valid-type]


def _generation(prompt: str | Sequence[str], settings: GenerationSettings) -> dict[str, Any]:
    unknown = settings.keys() - GenerationSettings.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
    prompts = {"prompt": prompt} if isinstance(prompt, str) else {"prompts": list(prompt)}
    return {**prompts, **_given(settings)}


def _edit_path(edit_id: str) -> str:
    return f"/edits/{quote(edit_id, safe='')}"


def _evaluation_path(evaluation_id: str) -> str:
    return f"/evaluations/{quote(evaluation_id, safe='')}"


def _trace_path(trace_id: str) -> str:
    return f"/traces/{quote(trace_id, safe='')}"


def _alias_path(name: str) -> str:
    return f"/aliases/{quote(name, safe='')}"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given: the service has its own default for the rest."""
    return {name: value for name, value in values.items() if value is not None}
