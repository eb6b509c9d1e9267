"""What is tried again, what is not, and when."""

import threading
import time
from typing import Any

import pytest
from errata_client import ConnectionFailed, Errata, RequestTimedOut, TooManyRequests, Unavailable

from tests.client.peer import Answer, Call, Peer, problem

ACTIVATION = {"active": 1, "previous": 2, "replicas": []}
NOW = {"Retry-After": "0"}


def test_an_edit_is_posted_again_under_the_same_key(peer: Peer, call: Call, edit_body: dict[str, Any]) -> None:
    peer.answers = [Answer(503, headers=NOW), Answer(drops=True), Answer(202, edit_body)]
    assert call("edit", [("s", "r", "o")]).id == "edit_1"
    keys = {received.headers["Idempotency-Key"] for received in peer.received}
    assert len(peer.received) == 3
    assert len(keys) == 1 and keys != {""}
    assert [received.body for received in peer.received] == [peer.received[0].body] * 3


@pytest.mark.parametrize(
    ("operation", "names"), [("rollback", {}), ("rollback", {"to": "previous"}), ("activate", {"version": "previous"})]
)
def test_what_would_go_to_another_version_is_never_sent_again_once_it_may_have_arrived(
    peer: Peer, call: Call, operation: str, names: dict[str, Any]
) -> None:
    peer.answers = [Answer(drops=True)]
    with pytest.raises(ConnectionFailed) as caught:
        call(operation, **names)
    assert caught.value.may_have_arrived
    peer.answers = [Answer(503, headers=NOW)]
    with pytest.raises(Unavailable):
        call(operation, **names)
    assert len(peer.received) == 2


def test_going_to_a_version_of_a_number_is_sent_again(peer: Peer, call: Call) -> None:
    lost = [Answer(drops=True), Answer(503, headers=NOW), Answer(200, ACTIVATION)]
    peer.answers = [*lost, *lost]
    assert call("rollback", to=1).active == call("activate", 1).active == 1
    assert [received.body for received in peer.received] == [{"to": 1}] * 3 + [None] * 3


def test_a_bare_rollback_is_sent_again_while_the_server_refuses_connections(silent_peer: Peer, call: Call) -> None:
    silent_peer.answers = [Answer(200, ACTIVATION)]
    starting = threading.Timer(0.1, silent_peer.listen)
    starting.start()
    assert call("rollback").active == 1
    starting.join()


def test_retry_after_is_honoured_where_it_is_short_and_handed_on_where_it_is_long(
    peer: Peer, call: Call, edit_body: dict[str, Any]
) -> None:
    peer.answers = [Answer(429, headers={"Retry-After": "1"}), Answer(202, edit_body)]
    began = time.monotonic()
    call("edit", [("s", "r", "o")])
    assert 1.0 <= time.monotonic() - began < 2.0

    full = problem(429, "Queue full", "1000 edits wait")
    peer.answers = [Answer(429, full, headers={"Retry-After": "3600"})]
    with pytest.raises(TooManyRequests) as caught:
        call("edit", [("s", "r", "o")])
    assert caught.value.retry_after == 3600


def test_what_is_at_fault_itself_is_sent_once_and_the_rest_until_the_tries_are_used_up(peer: Peer, call: Call) -> None:
    for status, tries in [(404, 1), (504, 1), (500, 3)]:
        peer.received.clear()
        peer.answers = [Answer(status, headers=NOW) for _ in range(3)]
        with pytest.raises(Exception, match=str(status)):
            call("version", 7)
        assert len(peer.received) == tries


def test_no_answer_in_time(peer: Peer, call: Call) -> None:
    peer.answers = [Answer(200, {"name": "demo"}, after_s=0.5)]
    with pytest.raises(RequestTimedOut) as caught:
        call("model", client={"timeout": 0.1, "max_retries": 0})
    assert caught.value.may_have_arrived


def test_a_server_that_is_not_there_is_not_healthy(silent_peer: Peer, call: Call) -> None:
    assert call("healthy") is False
    silent_peer.listen()
    silent_peer.answers = [Answer(200), Answer(503)]
    assert call("healthy") is True
    assert call("ready") is False


def test_arguments_that_cannot_be_used_are_refused_without_showing_the_key() -> None:
    for url in ("ftp://127.0.0.1", "http://", "localhost:port"):
        with pytest.raises(ValueError, match="is no URL of a service"):
            Errata(url)
    with pytest.raises(ValueError) as caught:
        Errata(api_key="secret\n")
    assert "secret" not in str(caught.value)
