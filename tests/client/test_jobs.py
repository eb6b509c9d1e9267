"""Jobs of every kind are waited for, cancelled and followed alike."""

import asyncio
import copy
import json
import pickle
from typing import Any

import pytest
from errata_client import (
    AsyncErrata,
    EditCancelled,
    Errata,
    EvaluationJob,
    JobError,
    MeasurementCancelled,
    MeasurementFailed,
    StatusEvent,
    TraceJob,
)
from errata_client.cli import main

from tests.client.peer import Answer, Call, Peer, problem

STREAM = {"Content-Type": "text/event-stream"}
KINDS = [
    ("edits", "get_edit", {"object": "edit", "facts": 1}),
    ("evaluations", "evaluations.get", {"object": "evaluation", "version": 3, "records": 1}),
    ("traces", "traces.get", {"object": "trace", "noise_level": 3.0, "num_samples": 10}),
]


def body(more: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": "job_1", "status": "queued", "created_at": "2026-01-01T00:00:00Z", **more, **changes}


def status_event(event_id: str, job: dict[str, Any]) -> bytes:
    return f"id: {event_id}\nevent: status\ndata: {json.dumps(job)}\n\n".encode()


@pytest.mark.parametrize(("path", "get", "more"), KINDS)
def test_a_job_is_waited_for(
    peer: Peer, call: Call, path: str, get: str, more: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    peer.answers = [Answer(200, body(more)), Answer(200, body(more, status="succeeded"))]
    ended = call(get, "job_1", then="wait")
    assert (ended.object, ended.status, ended.ended) == (more["object"], "succeeded", True)
    assert [received.path for received in peer.received] == [f"/{path}/job_1", f"/{path}/job_1?wait=1"]
    assert capsys.readouterr().err.splitlines() == ["job_1  queued", "job_1  succeeded"]


@pytest.mark.parametrize(("path", "get", "more"), KINDS)
def test_a_job_is_cancelled(peer: Peer, call: Call, path: str, get: str, more: dict[str, Any]) -> None:
    peer.answers = [Answer(200, body(more)), Answer(200, body(more, status="cancelled"))] * 2
    assert call(get, "job_1", then="cancel").status == "cancelled"
    assert (peer.received[1].method, peer.received[1].path) == ("POST", f"/{path}/job_1/cancel")
    with pytest.raises(JobError, match=f"{more['object']} job_1 was cancelled") as caught:
        call(get, "job_1", then="wait", progress=False)
    assert type(caught.value) is (EditCancelled if path == "edits" else MeasurementCancelled)
    assert caught.value.job.status == "cancelled"


@pytest.mark.parametrize(("path", "get", "more"), KINDS)
def test_a_job_is_followed(peer: Peer, call: Call, path: str, get: str, more: dict[str, Any]) -> None:
    running = status_event("1-0", body(more, status="running"))
    ended = status_event("2-0", body(more, status="succeeded", a_field_of_a_newer_server=1))
    peer.answers = [
        Answer(200, body(more)),
        Answer(headers=STREAM, chunks=[running], drops=True),
        Answer(headers=STREAM, chunks=[ended], holds_open_s=1.0),
    ]
    events = call(get, "job_1", then="events", last_event_id="0-1")
    assert [type(event) for event in events] == [StatusEvent] * 2
    assert [event.job.status for event in events] == ["running", "succeeded"]
    assert events[1].job.model_extra == {"a_field_of_a_newer_server": 1}
    assert [received.path for received in peer.received[1:]] == [f"/{path}/job_1/events"] * 2
    assert [received.headers["Last-Event-ID"] for received in peer.received[1:]] == ["0-1", "1-0"]

    shown = events[1].model_dump(mode="json")
    assert set(shown) == {"kind", "id", more["object"]} and shown[more["object"]]["status"] == "succeeded"
    assert StatusEvent.model_validate(shown).job == events[1].job


def test_jobs_are_copied_and_kept_as_records_are(peer: Peer) -> None:
    peer.answers = [Answer(200, body(KINDS[1][2])), Answer(200, body(KINDS[1][2], status="succeeded"))]
    with Errata(peer.url) as errata:
        evaluation = errata.evaluations.get("job_1")
        assert pickle.loads(pickle.dumps(evaluation)).model_dump() == evaluation.model_dump()
        assert copy.deepcopy(evaluation).wait(progress=False).ended


def test_what_an_evaluation_and_a_trace_raise_carries_them(peer: Peer, call: Call) -> None:
    more = KINDS[1][2]
    peer.answers = [Answer(200, body(more, status="failed", error=problem(500, "Not finite", "a loss is not finite")))]
    with pytest.raises(MeasurementFailed, match="evaluation job_1 failed: a loss is not finite") as caught:
        call("evaluations.wait", "job_1", progress=False)
    assert caught.value.measurement.id == caught.value.job.id == "job_1"


def test_evaluations_and_traces_are_created_listed_and_written(peer: Peer, call: Call, tmp_path: Any) -> None:
    evaluation, trace = body(KINDS[1][2]), body(KINDS[2][2])
    peer.answers = [Answer(202, evaluation), Answer(200, {"data": [evaluation], "has_more": False})]
    created = call("evaluations.create", iter([{"src": "?"}]), version=3, idempotency_key="k")
    assert (peer.received[0].path, peer.received[0].headers["Idempotency-Key"]) == ("/evaluations", "k")
    assert peer.received[0].body == {"records": [{"src": "?"}], "version": 3}
    assert [listed.id for listed in call("evaluations.list", version=3)] == [created.id]
    assert peer.received[1].path == "/evaluations?limit=100&version=3"

    peer.answers = [Answer(202, trace), Answer(200, {"data": [trace]}), Answer(200, {"layers": [1]})]
    call("traces.create", [("s", "r", "o")], severed_only=True)
    assert peer.received[2].body == {"facts": [{"subject": "s", "relation": "r", "object": "o"}], "severed_only": True}
    assert [listed.object for listed in call("traces.list")] == ["trace"]
    assert call("traces.result", "job_1") == {"layers": [1]}

    peer.answers = [
        Answer(body=b'{"a": 1}\n', headers={"Content-Type": "application/x-ndjson"}),
        Answer(body=b"png", headers={"Content-Type": "image/png"}),
    ]
    assert call("evaluations.cases", "job_1", tmp_path / "cases.jsonl").read_bytes() == b'{"a": 1}\n'
    assert call("traces.figure", "job_1", "severed.png", tmp_path / "a.png").read_bytes() == b"png"
    assert peer.received[-1].path == "/traces/job_1/figures/severed.png"
    for method in ("evaluations.create", "traces.create"):
        with pytest.raises(TypeError, match="sede"):
            call(method, sede=1)


def test_a_blocking_client_works_where_an_event_loop_runs(peer: Peer) -> None:
    """As in a notebook, whose cells run inside of one."""
    more = KINDS[0][2]
    ended = body(more, status="succeeded")
    events = Answer(headers=STREAM, chunks=[status_event("1-0", ended)])
    peer.answers = [Answer(200, {"data": [ended]}), Answer(200, body(more)), events, Answer(200, ended)]

    async def cell() -> None:
        with Errata(peer.url) as errata:
            assert [edit.id for edit in errata.edits()] == ["job_1"]
            edit = errata.get_edit("job_1")
            assert next(edit.events()).kind == "status"
            assert edit.wait(progress=False).ended

    asyncio.run(cell())


def test_each_client_gives_jobs_of_its_own(peer: Peer) -> None:
    peer.answers = [Answer(200, body(more)) for _, _, more in KINDS[1:]]

    async def both() -> None:
        with Errata(peer.url) as blocking:
            assert isinstance(blocking.evaluations.get("job_1"), EvaluationJob)
        async with AsyncErrata(peer.url) as errata:
            trace = await errata.traces.get("job_1")
            assert trace.object == "trace" and not isinstance(trace, TraceJob)

    asyncio.run(both())


def test_the_command_line_follows_an_evaluation(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ERRATA_URL", peer.url)
    more = KINDS[1][2] | {"id": "eval_1"}
    ended = status_event("1-0", body(more, status="failed", id="eval_1"))
    peer.answers = [Answer(200, body(more)), Answer(headers=STREAM, chunks=[ended])]
    assert main(["evaluations", "watch", "eval_1"]) == 1
    assert [received.path for received in peer.received] == ["/evaluations/eval_1", "/evaluations/eval_1/events"]
    said = capsys.readouterr()
    assert said.out.splitlines()[:2] == ["evaluation  eval_1", "status      failed"]
    assert said.err.splitlines() == ["eval_1  failed", "errata-client: evaluation eval_1 failed"]
