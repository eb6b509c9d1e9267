"""Streamed generation: read as it is written, sent again until its first event only, and closed early."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from errata_client import (
    AsyncErrata,
    ConnectionFailed,
    Errata,
    GeneratedToken,
    GenerationEnd,
    Message,
    NotFound,
    StatusError,
    Unavailable,
    UnexpectedAnswer,
)

from tests.client.peer import Answer, Call, Peer, problem

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}
NOW = {"Retry-After": "0"}


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def token(text: str, index: int = 0) -> bytes:
    return event("token", {"index": index, "text": text, "version": 3})


def end(text: str = "", index: int = 0) -> bytes:
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    return event("end", {"index": index, "text": text, "finish_reason": "stop", "usage": usage, "version": 3})


def endless() -> Answer:
    def chunks() -> Iterator[bytes]:
        for number in itertools.count():
            yield token(f" {number}")
            time.sleep(0.01)

    return Answer(headers=STREAM, chunks=chunks())


def test_a_stream_ends_with_its_last_prompt(peer: Peer, call: Call) -> None:
    first = token(" bas") + token("", index=1)
    rest = [event("from-a-newer-server", {}), end("eball"), token(" golf", index=1) + end(index=1)]
    peer.answers = [Answer(headers=STREAM, chunks=[first[:70], first[70:], *rest], holds_open_s=1.0)]
    events = call("stream", ["p", "q"], version="base", max_new_tokens=2, stop="\n", seed=None)

    assert [type(e) for e in events] == [*[GeneratedToken] * 2, GenerationEnd, GeneratedToken, GenerationEnd]
    texts = ["".join(e.text for e in events if e.index == index) for index in (0, 1)]
    assert texts == [" baseball", " golf"]
    assert [e.kind for e in events[-2:]] == ["token", "end"] and {e.version for e in events} == {3}
    assert (events[-1].finish_reason, events[-1].usage.completion_tokens) == ("stop", 2)
    [received] = peer.received
    assert received.headers["Accept"] == "text/event-stream"
    assert received.body == {
        "prompts": ["p", "q"],
        "version": "base",
        "max_new_tokens": 2,
        "stop": "\n",
        "stream": True,
    }


def test_text_is_there_before_the_stream_has_ended_and_leaving_it_hangs_up(peer: Peer) -> None:
    peer.answers = [left, closed] = [endless(), endless()]
    with Errata(peer.url) as errata:
        for event in errata.stream("p"):
            if event.text == " 2":
                break
        assert left.hung_up.wait(5)
        with closing(errata.stream("p")) as events:
            assert [next(events).text for _ in range(3)] == [" 0", " 1", " 2"]
        assert closed.hung_up.wait(5)


def test_text_is_there_before_the_stream_has_ended_and_leaving_it_hangs_up_in_asyncio(peer: Peer) -> None:
    peer.answers = [left, closed] = [endless(), endless()]

    async def leave() -> None:
        async with AsyncErrata(peer.url) as errata:
            async for event in errata.stream("p"):
                if event.text == " 2":
                    break
            assert await asyncio.to_thread(left.hung_up.wait, 5)
            async with aclosing(errata.stream("p")) as events:
                assert [(await anext(events)).text for _ in range(3)] == [" 0", " 1", " 2"]
            assert closed.hung_up.wait(5)

    asyncio.run(leave())


def test_it_is_sent_again_until_its_first_event(peer: Peer, call: Call) -> None:
    peer.answers = [
        Answer(429, problem(429, "Busy", "64 generations wait"), headers=NOW),
        Answer(503, headers=NOW),
        Answer(drops=True),
        Answer(headers=STREAM, chunks=[b": hello\n\n", token(" never whole")[:20]], drops=True),
        Answer(headers=STREAM, chunks=[token(" baseball"), end()]),
    ]
    assert [e.text for e in call("stream", "p", client={"max_retries": 4})] == [" baseball", ""]
    assert [received.body for received in peer.received] == [{"prompt": "p", "stream": True}] * 5

    peer.answers = [Answer(404, problem(404, "Unknown version", "there is no version 7"))]
    with pytest.raises(NotFound, match="no version 7"):
        call("stream", "p", version=7)


@pytest.mark.parametrize("drops", [True, False])
def test_a_stream_that_breaks_off_is_not_sent_again(peer: Peer, call: Call, drops: bool) -> None:
    peer.answers = [Answer(headers=STREAM, chunks=[token(" bas")], drops=drops)]
    with pytest.raises(ConnectionFailed) as caught:
        call("stream", "p")
    assert caught.value.may_have_arrived
    assert len(peer.received) == 1


@pytest.mark.parametrize(
    ("status", "kind", "before"), [(504, Unavailable, [token(" bas")]), (503, Unavailable, []), (400, StatusError, [])]
)
def test_an_error_event_is_raised_as_what_it_is(
    peer: Peer, call: Call, status: int, kind: type, before: list[bytes]
) -> None:
    fault = event("error", problem(status, "Title", "what happened"))
    peer.answers = [Answer(headers=STREAM, chunks=[*before, fault])]
    with pytest.raises(StatusError) as caught:
        call("stream", "p")
    assert type(caught.value) is kind
    assert str(caught.value) == f"{status} Title: what happened"
    assert len(peer.received) == 1


def test_answers_that_are_not_the_contracts(peer: Peer, call: Call) -> None:
    peer.answers = [Answer(200, {"data": []}), Answer(headers=STREAM, chunks=[event("token", {"text": " bas"})])]
    for message in ("not an event stream", "'token' does not fit the contract"):
        with pytest.raises(UnexpectedAnswer, match=message):
            call("stream", "p")


def test_a_setting_that_there_is_not_is_refused_before_anything_is_sent(peer: Peer, call: Call) -> None:
    for method in ("generate", "stream", "chat", "stream_chat"):
        with pytest.raises(TypeError, match="max_tokens"):
            call(method, "p", max_tokens=1)
    assert peer.received == []


def test_a_conversation_goes_out_in_the_contracts_form_whatever_form_it_came_in(peer: Peer, call: Call) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    completion = {"prompt": "p", "text": " golf", "finish_reason": "stop", "usage": usage}
    peer.answers = [Answer(200, {"data": [completion], "version": 3})] * 2
    talk = [
        ("system", "Be brief."),
        {"role": "user", "content": "p"},
        Message(role="assistant", content="q"),
        ("user", "r"),
    ]
    assert call("chat", talk, version="base", stop="\n").text == " golf"
    assert call("chat", "p").version == 3
    roles = ("system", "user", "assistant", "user")
    sent = [{"role": role, "content": text} for role, text in zip(roles, ("Be brief.", "p", "q", "r"), strict=True)]
    assert [received.body for received in peer.received] == [
        {"messages": sent, "version": "base", "stop": "\n"},
        {"messages": [{"role": "user", "content": "p"}]},
    ]
    assert {received.path for received in peer.received} == {"/generate"}

    peer.answers = [Answer(headers=STREAM, chunks=[token(" bas"), end("eball")])]
    assert [e.text for e in call("stream_chat", "p")] == [" bas", "eball"]
    assert peer.received[-1].body == {"messages": [{"role": "user", "content": "p"}], "stream": True}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (("bot", "p"), "role: is not known; there are system, user, assistant"),
        ({"role": "user", "contents": "p"}, "content: is required"),
        (("user", "p", "q"), "a message is a role and its content, got 3 parts"),
    ],
)
def test_a_message_of_another_form_is_not_sent(peer: Peer, call: Call, message: Any, words: str) -> None:
    for method in ("chat", "stream_chat"):
        with pytest.raises(ValueError, match=words):
            call(method, [message])
    assert peer.received == []
