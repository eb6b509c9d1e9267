"""Edits as their clients see them while no worker takes them up."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from errata_client.records import FactOutcome, JobStatus, Progress, Stage
from errata_registry.registry import Registry

from errata.facts import MAX_FACTS, Fact
from tests.service.conftest import NewSettings, Publish, Serve, until_ready


def body(note: str = "") -> dict[str, Any]:
    return {"facts": [{"subject": "Ada", "relation": "was born in", "object": "London"}], "note": note}


@pytest.fixture
def edit(client: httpx.Client) -> str:
    """The id of a queued edit."""
    edit_id: str = client.post("/edits", json=body()).json()["id"]
    return edit_id


def events(lines: Iterator[str]) -> Iterator[tuple[str | None, str, Any]]:
    """(id, name, data) of each server-sent event."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields.get("id"), fields["event"], json.loads(fields["data"])
            fields = {}


def test_an_edit_is_accepted(client: httpx.Client) -> None:
    answer = client.post("/edits", json=body("why"))
    assert answer.status_code == 202
    edit = answer.json()
    assert edit["status"] == "queued" and edit["facts"] == 1 and edit["note"] == "why" and edit["version"] is None
    assert edit["created_at"].endswith("Z")
    assert client.get(answer.headers["location"]).json() == edit


def test_a_method_that_nothing_is_known_of_for_the_model_is_refused(
    new_settings: NewSettings, serve: Serve, tmp_path: Path
) -> None:
    file = tmp_path / "hyperparameters.json"
    file.write_text(json.dumps({"methods": {"rome": {"hyperparameters": {"layers": [2]}}}}))
    client = serve(new_settings(hyperparameters=file))
    until_ready(client)
    answer = client.post("/edits", json=body() | {"method": "ft"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/method")
    assert client.post("/edits", json=body() | {"method": "rome"}).json()["method"] == "rome"
    model = client.get("/model").json()
    assert (model["hyperparameters"], model["methods"]["rome"]["layers"], len(model["methods"])) == (None, [2], 1)


def test_the_same_key_and_body_give_the_same_edit(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = client.post("/edits", json=body(), headers=headers)
    again = client.post("/edits", json=body(), headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    other = client.post("/edits", json=body("another"), headers=headers)
    assert other.status_code == 422
    assert first.json()["id"] in other.json()["detail"]


def test_a_key_counts_for_the_route_that_it_came_to(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    asked = [
        ("/edits", body()),
        ("/facts/retract", {"ids": [Fact("Ada", "was born in", "London").id], "note": "the same key"}),
        ("/traces", {"prompt": "{} was born in", "subject": "Ada"}),
    ]

    def send() -> list[httpx.Response]:
        return [client.post(path, json=sent, headers=headers) for path, sent in asked]

    first, again = send(), send()
    assert [answer.status_code for answer in first] == [202, 202, 202], [answer.text for answer in first]
    assert len({answer.json()["id"] for answer in first}) == 3
    assert [answer.json() for answer in again] == [answer.json() for answer in first]


def test_a_list_is_walked_part_by_part(client: httpx.Client) -> None:
    made = [client.post("/edits", json=body(str(number))).json()["id"] for number in range(5)]
    seen: list[str] = []
    after: dict[str, str] = {}
    while len(seen) < len(made):
        page = client.get("/edits", params={"limit": 2, **after}).json()
        assert len(page["data"]) == 2 and page["has_more"]
        seen += [edit["id"] for edit in page["data"]]
        after = {"after": page["next"]}
    assert seen[: len(made)] == made[::-1]


def test_waiting_ends_with_the_time(client: httpx.Client, edit: str) -> None:
    began = time.monotonic()
    assert client.get(f"/edits/{edit}", params={"wait": 0.5}).json()["status"] == "queued"
    assert 0.4 < time.monotonic() - began < 5


def test_waiting_ends_with_the_edit(client: httpx.Client, edit: str) -> None:
    cancelling = threading.Timer(0.3, lambda: client.post(f"/edits/{edit}/cancel"))
    cancelling.start()
    assert client.get(f"/edits/{edit}", params={"wait": 20}).json()["status"] == "cancelled"
    cancelling.join()


def test_a_queued_edit_is_cancelled_at_once(client: httpx.Client, edit: str) -> None:
    for _ in range(2):
        assert client.post(f"/edits/{edit}/cancel").json()["status"] == "cancelled"


def test_an_edit_that_has_ended_cannot_be_cancelled(client: httpx.Client, registry: Registry, edit: str) -> None:
    registry.edits.update(edit, status=JobStatus.FAILED)
    assert client.post(f"/edits/{edit}/cancel").status_code == 409


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
def test_an_unknown_edit(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, f"/edits/edit_of_nobody{path}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:errata:problem:unknown-edit"


def test_events_are_told_as_they_happen_and_resumed(client: httpx.Client, registry: Registry, edit: str) -> None:
    told = []
    with client.stream("GET", f"/edits/{edit}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer.iter_lines())
        told.append(next(stream))
        registry.edits.update(edit, status=JobStatus.RUNNING)
        registry.live.progress(edit, Progress(stage=Stage.TARGETS, done=1, total=4))
        registry.live.log(edit, "info", "one\nof four")
        told += [next(stream), next(stream), next(stream)]
        registry.edits.update(edit, status=JobStatus.FAILED)
        told += list(stream)
    assert [(name, data.get("status")) for _, name, data in told] == [
        ("status", "queued"),
        ("status", "running"),
        ("progress", None),
        ("log", None),
        ("status", "failed"),
    ]
    assert told[2][2] == {"stage": "targets", "done": 1, "total": 4, "eta_s": None}
    assert told[3][2] == {"level": "info", "message": "one\nof four"}

    resumed = client.get(f"/edits/{edit}/events", headers={"Last-Event-ID": str(told[2][0])})
    assert list(events(resumed.iter_lines())) == told[3:]
    behind_the_end = client.get(f"/edits/{edit}/events", headers={"Last-Event-ID": str(told[4][0])})
    assert [(name, data["status"]) for _, name, data in events(behind_the_end.iter_lines())] == [("status", "failed")]


def test_a_full_queue_asks_to_come_again(serve: Any, new_settings: Any) -> None:
    client: httpx.Client = serve(new_settings(max_queued_edits=1))
    assert client.post("/edits", json=body("1")).status_code == 202
    answer = client.post("/edits", json=body("2"))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_a_new_try_of_more_facts_than_a_version_may_hold_is_refused(
    client: httpx.Client, registry: Registry, publish: Publish
) -> None:
    ada, alan = Fact("Ada", "was born in", "London"), Fact("Alan", "was born in", "Rome")
    posted: list[Any] = [
        {"subject": fact.subject, "relation": fact.relation, "object": fact.object} for fact in (ada, alan)
    ]
    edit = client.post("/edits", json={"facts": posted}).json()["id"]
    missed: dict[str, Any] = {"took": False, "known": False, "likelier": False}
    missed |= {"probability_before": 0.1, "probability_after": 0.1}
    registry.edits.keep_fact_outcomes(edit, [FactOutcome(id=ada.id, **posted[0], **missed)])
    registry.edits.update(edit, status=JobStatus.SUCCEEDED, version=publish(registry, ada, alan))
    full = publish(registry, ada, *(Fact(f"S{number:05}", "is", "b") for number in range(MAX_FACTS - 1)))
    answer = client.post(f"/edits/{edit}/retry", json={"base": full, "activate": False})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:errata:problem:too-many-facts"), answer.text
