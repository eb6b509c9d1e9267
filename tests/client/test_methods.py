"""Calls that go well: waiting, lists over pages, what is sent and what is read."""

import json
from typing import Any

import pytest
from errata_client import EditRejected, Fact, Neighbor, WaitTimedOut

from tests.client.peer import Answer, Call, Peer


def test_wait_follows_the_edit_to_its_end(
    peer: Peer, call: Call, edit_body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    running = {**edit_body, "status": "running", "progress": {"stage": "targets", "done": 0, "total": 1}}
    ended = {**edit_body, "status": "succeeded", "version": 3, "a_field_of_a_newer_server": 1}
    peer.answers = [Answer(200, body) for body in (edit_body, running, running, ended)]
    edit = call("get_edit", "edit_1", then="wait")

    assert (edit.version, edit.model_extra) == (3, {"a_field_of_a_newer_server": 1})
    assert [received.path for received in peer.received[1:]] == ["/edits/edit_1?wait=1"] * 3
    assert capsys.readouterr().err.splitlines() == [
        "edit_1  queued",
        "edit_1  targets",
        "edit_1  succeeded: version 3",
    ]


def test_wait_raises_what_came_of_the_edit(peer: Peer, call: Call, edit_body: dict[str, Any]) -> None:
    peer.answers = [Answer(200, {**edit_body, "status": "rejected", "version": 4})]
    with pytest.raises(EditRejected, match="edit_1 was rejected") as caught:
        call("get_edit", "edit_1", then="wait", progress=False)
    assert caught.value.edit.version == 4

    peer.answers = [Answer(200, edit_body), Answer(200, edit_body, after_s=0.3)]
    with pytest.raises(WaitTimedOut, match="still queued") as late:
        call("get_edit", "edit_1", then="wait", progress=False, timeout=0.2)
    assert isinstance(late.value, TimeoutError)


def test_lists_are_fetched_page_after_page(peer: Peer, call: Call) -> None:
    facts = [{"id": f"fact_{s}", "subject": s, "relation": "r", "object": "o"} for s in ("a", "b")]
    pages = [
        Answer(200, {"data": [facts[0]], "has_more": True, "next": "cursor&1"}),
        Answer(200, {"data": [facts[1]], "has_more": False, "next": None}),
    ]
    peer.answers = pages * 2
    assert [fact.subject for fact in call("facts", relation="r")] == ["a", "b"]
    assert [fact.subject for fact in call("facts", version=2, by="k")] == ["a", "b"]
    assert [received.path for received in peer.received] == [
        "/facts?limit=100&relation=r",
        "/facts?limit=100&relation=r&after=cursor%261",
        "/facts?limit=100&version=2&by=k",
        "/facts?limit=100&version=2&by=k&after=cursor%261",
    ]


def test_facts_go_out_in_the_contracts_form_whatever_form_they_came_in(
    peer: Peer, call: Call, edit_body: dict[str, Any]
) -> None:
    peer.answers = [Answer(202, edit_body)]
    whole = Fact("s1", "r", "o", paraphrases=["p"], neighbors=[Neighbor("q", "a")])
    call("edit", [whole, {"subject": "s2", "relation": "r", "object": "o"}, ("s3", "r", "o")], activate=False)
    assert peer.received[0].body == {
        "facts": [
            {
                "subject": "s1",
                "relation": "r",
                "object": "o",
                "paraphrases": ["p"],
                "neighbors": [{"prompt": "q", "object": "a"}],
            },
            {"subject": "s2", "relation": "r", "object": "o"},
            {"subject": "s3", "relation": "r", "object": "o"},
        ],
        "activate": False,
    }


def test_generation_and_deletion(peer: Peer, call: Call) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    completion = {"prompt": "p", "text": " o", "finish_reason": "stop", "usage": usage}
    peer.answers = [Answer(200, {"data": [completion], "version": 0}), Answer(204)]
    assert call("generate", "p", version="base", max_new_tokens=1, client={"api_key": "k"}).text == " o"
    assert call("delete_version", 3) is None
    assert peer.received[0].body == {"prompt": "p", "version": "base", "max_new_tokens": 1}
    assert peer.received[0].headers["Authorization"] == "Bearer k"
    assert (peer.received[1].method, peer.received[1].path) == ("DELETE", "/versions/3")


def test_what_only_a_newer_service_knows_is_kept(peer: Peer, call: Call, edit_body: dict[str, Any]) -> None:
    gate = {"min_efficacy": 0.5, "min_wisdom": 0.9}
    peer.answers = [Answer(200, {**edit_body, "status": "pondered", "gate": gate})]
    edit = call("get_edit", "edit_1")
    assert (edit.status, edit.gate.min_efficacy, edit.gate.model_extra) == ("pondered", 0.5, {"min_wisdom": 0.9})


def test_a_status_is_shown_as_the_word_that_it_is(peer: Peer, call: Call, edit_body: dict[str, Any]) -> None:
    peer.answers = [Answer(200, edit_body)]
    status = call("get_edit", "edit_1").status
    assert (repr(status), str(status), f"{status}", json.dumps([status])) == (
        "'queued'",
        *2 * ("queued",),
        '["queued"]',
    )


def test_an_option_that_there_is_not_is_refused_before_anything_is_sent(peer: Peer, call: Call) -> None:
    for method in ("edit", "retract", "retry"):
        with pytest.raises(TypeError, match="acivate"):
            call(method, "fact_1" if method != "edit" else [("s", "r", "o")], acivate=False)
    assert peer.received == []
