"""The event stream: read whatever way its bytes are cut, and taken up again where it broke off."""

import json
from typing import Any

import pytest
from errata_client import ConnectionFailed, LogEvent, ProgressEvent, StatusEvent
from errata_client.event_streams import Decoder

from tests.client.peer import Answer, Call, Peer

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}


def event(event_id: str, name: str, data: object) -> bytes:
    return f"id: {event_id}\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


PROGRESS = event("1-0", "progress", {"stage": "targets", "done": 1, "total": 2, "eta_s": 0.5})


def test_events_go_on_after_the_last_one_seen(peer: Peer, call: Call, edit_body: dict[str, Any]) -> None:
    log = event("2-0", "log", {"level": "info", "message": "line\u2028separator"})
    ended = event("4-0", "status", {**edit_body, "status": "succeeded", "version": 3})
    peer.answers = [
        Answer(headers=STREAM, chunks=[b": hello\n\n" + PROGRESS, log[:20]], drops=True),
        Answer(503, headers={"Retry-After": "0"}),
        Answer(headers=STREAM, chunks=[log, event("3-0", "from-a-newer-server", {})]),
        Answer(headers=STREAM, chunks=[ended], holds_open_s=1.0),
    ]
    progress, message, status = call("events", "edit_1")

    assert isinstance(progress, ProgressEvent) and progress.progress.total == 2
    assert isinstance(message, LogEvent) and message.message == "line\u2028separator"
    assert isinstance(status, StatusEvent) and status.edit.version == 3
    assert [r.headers.get("Last-Event-ID") for r in peer.received] == [None, "1-0", "1-0", "3-0"]


def test_a_stream_that_breaks_off_again_and_again_without_an_event_is_given_up(peer: Peer, call: Call) -> None:
    peer.answers = [Answer(headers=STREAM, chunks=[PROGRESS]), *[Answer(headers=STREAM, chunks=[])] * 2]
    with pytest.raises(ConnectionFailed, match="broke off"):
        call("events", "edit_1", client={"max_retries": 1})
    assert len(peer.received) == 2


def test_a_quiet_stream_is_opened_again_as_often_as_it_takes(peer: Peer, call: Call, edit_body: dict[str, Any]) -> None:
    quiet = Answer(headers=STREAM, chunks=[b": hello\n\n"], holds_open_s=0.5)
    ended = event("1-0", "status", {**edit_body, "status": "cancelled"})
    peer.answers = [quiet, quiet, Answer(headers=STREAM, chunks=[ended])]
    [status] = call("events", "edit_1", client={"timeout": 0.1, "max_retries": 0})
    assert status.edit.status == "cancelled"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_decoder_takes_bytes_in_any_pieces(line_end: bytes) -> None:
    stream = (PROGRESS + "id: 2\nevent: log\ndata: é\ndata: second\n\n".encode()).replace(b"\n", line_end)
    whole = list(Decoder().feed(stream))
    decoder = Decoder()
    assert [e for byte in stream for e in decoder.feed(bytes([byte]))] == whole
    assert whole[1] == ("2", "log", "é\nsecond")
