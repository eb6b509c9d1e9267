"""The command line: what it prints, and its exit codes."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from errata_client.cli import main
from errata_client.tables import table

from tests.client.peer import Answer, Peer, problem


@pytest.fixture(autouse=True)
def address(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_URL", peer.url)
    monkeypatch.delenv("ERRATA_API_KEY", raising=False)


def test_a_bad_line_is_named_and_nothing_is_sent(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.csv"
    file.write_text("subject,relation,object\na,b,c\na,b\n")
    assert main(["edit", str(file)]) == 2
    assert capsys.readouterr().err == f"errata-client: {file}, line 3: has 2 columns, not 3\n"
    assert main(["edit", str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err == f"errata-client: {tmp_path / 'none.csv'}: No such file or directory\n"
    assert peer.received == []


def test_what_the_service_refuses_is_named_by_its_line(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_text('["a", "r", "o"]\n\n["a", "r", "p"]\n')
    fault = {"pointer": "/facts/1/object", "detail": "another object than fact 0"}
    peer.answers = [Answer(422, problem(422, "Invalid facts", "1 fact", errors=[fault]))] * 2
    assert main(["edit", str(file)]) == 3
    assert capsys.readouterr().err == f"errata-client: {file}, line 3, object: another object than fact 0\n"

    file = tmp_path / "facts.json"
    file.write_text('[\n["a", "r", "o"],\n["a", "r", "p"]\n]\n')
    assert main(["edit", str(file)]) == 3
    assert capsys.readouterr().err == f"errata-client: {file}, record 1 (line 3), object: another object than fact 0\n"

    fault = {"pointer": "/facts/1/object", "detail": "'q' is there"}
    peer.answers = [Answer(409, problem(409, "Fact conflict", "1 fact", errors=[fault]))]
    assert main(["edit", str(file), "--on-conflict", "error"]) == 3
    assert peer.received[-1].path == "/edits?on_conflict=error"
    assert capsys.readouterr().err == f"errata-client: {file}, record 1 (line 3), object: 'q' is there\n"


def test_more_facts_than_an_edit_takes_are_not_sent(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_text('["a", "r", "o"]\n' * 10_001)
    assert main(["edit", str(file)]) == 2
    assert "an edit of 10,001 facts: the service takes at most 10,000 at once" in capsys.readouterr().err
    assert peer.received == []


def test_edit_waits_and_its_exit_code_tells_what_came_of_it(
    peer: Peer, edit_body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["edit", "--subject", "s", "--relation", "r", "--object", "o"]
    failed = {**edit_body, "status": "failed", "error": problem(500, "Not finite", "a loss is not finite")}
    peer.answers = [Answer(202, edit_body), Answer(200, failed), Answer(202, edit_body)]
    assert main(["--json", *flags]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "failed"
    assert said.err.endswith("errata-client: edit edit_1 failed: a loss is not finite\n")
    assert main([*flags, "--no-wait", "--no-activate"]) == 0
    assert peer.received[-1].body["activate"] is False
    assert capsys.readouterr().out.splitlines()[:2] == ["edit    edit_1", "status  queued"]


def test_a_rebuild_is_waited_for_as_any_edit_is(
    peer: Peer, edit_body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rebuild = {**edit_body, "facts": 0, "rebuild": True, "version": 2}
    peer.answers = [Answer(202, rebuild), Answer(200, {**rebuild, "status": "succeeded"})]
    assert main(["versions", "rebuild", "2"]) == 0
    assert peer.received[0].path == "/versions/2/rebuild" and peer.received[0].headers["Idempotency-Key"]
    said = capsys.readouterr()
    assert said.out.splitlines() == ["edit     edit_1", "status   succeeded", "rebuild  yes", "version  2"]
    assert said.err.splitlines() == ["edit_1  queued", "edit_1  succeeded: version 2"]


def test_an_export_gets_a_name_where_none_is_given(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    peer.answers = [Answer(body=b"tar", headers={"Content-Type": "application/x-tar"})]
    assert main(["versions", "export", "3", "--format", "lora"]) == 0
    assert capsys.readouterr().out == "errata-3-lora.tar\n"
    assert Path("errata-3-lora.tar").read_bytes() == b"tar"
    assert main(["versions", "export", "3", "--output", "none/x.tar"]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_watch_shows_the_events(peer: Peer, edit_body: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    ended = json.dumps({**edit_body, "status": "cancelled"})
    log = json.dumps({"level": "info", "message": "hello"})
    stream = f"id: 1\nevent: log\ndata: {log}\n\nevent: status\ndata: {ended}\n\n"
    headers = {"Content-Type": "text/event-stream"}
    peer.answers = [Answer(200, edit_body), Answer(headers=headers, chunks=[stream.encode()])]
    assert main(["edits", "watch", "edit_1", "--json"]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["kind"] for line in said.out.splitlines()] == ["log", "status"]
    assert "info: hello\n" in said.err and said.err.endswith("errata-client: edit edit_1 was cancelled\n")


def test_generate_writes_the_text_as_it_comes(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    token = json.dumps({"index": 0, "text": " bas\n\x1b[2J", "version": 3})
    end = json.dumps({"index": 0, "text": "eball", "finish_reason": "stop", "usage": usage, "version": 3})
    stopping = json.dumps(problem(503, "Stopping", "the service stops"))
    headers = {"Content-Type": "text/event-stream"}
    begun = f"event: token\ndata: {token}\n\n".encode()
    ended = f"event: end\ndata: {end}\n\n".encode()
    failed = f"event: error\ndata: {stopping}\n\n".encode()
    peer.answers = [Answer(headers=headers, chunks=[begun, last]) for last in (ended, ended, failed)]

    assert main(["generate", "p", "--stream", "--version", "base"]) == 0
    assert capsys.readouterr().out == " bas\n\\x1b[2Jeball\n"
    assert peer.received[0].body == {"prompt": "p", "version": "base", "stream": True}
    assert main(["generate", "p", "--stream", "--json"]) == 0
    assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == ["token", "end"]
    assert main(["generate", "p", "--stream"]) == 3
    assert capsys.readouterr() == (" bas\n\\x1b[2J\n", "errata-client: 503 Stopping: the service stops\n")
    with pytest.raises(SystemExit, match="2"):
        main(["generate", "p", "q", "--stream"])
    assert len(peer.received) == 3


def answers(*texts: str, version: int = 3) -> list[Answer]:
    """Streams that each say a text, as a token and what comes with the end."""
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    last = json.dumps({"index": 0, "text": "!", "finish_reason": "stop", "usage": usage, "version": version})
    streams = []
    for text in texts:
        token = json.dumps({"index": 0, "text": text, "version": version})
        streams.append(f"event: token\ndata: {token}\n\nevent: end\ndata: {last}\n\n")
    return [Answer(headers={"Content-Type": "text/event-stream"}, chunks=[stream.encode()]) for stream in streams]


def test_chat_answers_a_message_of_the_command_line_or_of_stdin(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.answers = answers("base\nball\x1b[2J", "golf")
    assert main(["chat", "What?", "--system", "Be brief.", "--version", "production", "--max-new-tokens", "9"]) == 0
    assert capsys.readouterr() == ("base\nball\\x1b[2J!\n", "")
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}
    settings = {"version": "production", "max_new_tokens": 9}
    assert peer.received[0].body == {"messages": [system, user], **settings, "stream": True}

    monkeypatch.setattr("sys.stdin", io.StringIO("two\nlines\n"))
    assert main(["chat"]) == 0
    assert peer.received[1].body["messages"] == [{"role": "user", "content": "two\nlines"}]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SystemExit, match="2"):
        main(["chat"])

    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    completion = {"prompt": "p", "text": " o", "finish_reason": "stop", "usage": usage}
    refused = problem(422, "No chat template", "the model demo has no chat template")
    peer.answers = [Answer(200, {"data": [completion], "version": 0}), Answer(422, refused)]
    capsys.readouterr()
    assert main(["chat", "What?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == [completion]
    assert main(["chat", "What?"]) == 3
    assert capsys.readouterr().err == "errata-client: 422 No chat template: the model demo has no chat template\n"


def test_chat_on_a_terminal_goes_on_until_its_end(peer: Peer) -> None:
    late = Answer(504, problem(504, "Timed out", "too late"))
    peer.answers = [*answers("one"), late, *answers("two"), *answers("three", version=4)]
    command = [sys.executable, "-m", "errata_client.cli", "chat", "--system", "Be brief."]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        os.write(ours, b"a\n\nlost\nb\nc\n\x04")
        out, err = running.communicate(timeout=60)
    for end in (ours, theirs):
        os.close(end)
    assert running.returncode == 0, err
    assert [text for line in out.splitlines() if (text := line.lstrip("> "))] == ["one!", "two!", "three!"]
    for told in ("version 3 answers", "504 Timed out: too late", "version 4 answers"):
        assert f"errata-client: {told}\n" in err
    said = [(message["role"], message["content"]) for message in peer.received[-1].body["messages"]]
    talk = [("system", "Be brief."), ("user", "a"), ("assistant", "one!"), ("user", "b"), ("assistant", "two!")]
    assert said == [*talk, ("user", "c")]


def test_the_service_that_fails_or_is_away_and_wrong_usage(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.answers = [Answer(504, problem(504, "Timeout", "replica r2 does not follow"))]
    assert main(["versions", "activate", "3"]) == 3
    assert capsys.readouterr().err == "errata-client: 504 Timeout: replica r2 does not follow\n"
    faults = [{"pointer": "", "detail": "is too much"}, {"pointer": "/to", "detail": "is no version"}]
    peer.answers = [Answer(422, problem(422, "Invalid request", "two faults", errors=faults))]
    assert main(["versions", "rollback", "--to", "0"]) == 3
    assert capsys.readouterr().err == "errata-client: the request: is too much\nerrata-client: --to: is no version\n"
    peer.stop()
    assert main(["versions", "rollback", "--to", "0"]) == 4
    with pytest.raises(SystemExit, match="2"):
        main(["edit"])


def test_tables_stay_tables_whatever_is_in_them() -> None:
    assert table(["n", "text"], [[1, "日本\x1b[2J"], [10, None], [None, "a\nb"]]).splitlines() == [
        " n  text",
        " 1  日本\\x1b[2J",
        "10  -",
        " -  a\\nb",
    ]
