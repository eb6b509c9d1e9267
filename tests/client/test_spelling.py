"""How commands are spelled: nouns with verbs, the old spellings with a hint, and the usual mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from errata_client.cli import main

from tests.client.peer import Answer, Peer, problem

COMMAND = [sys.executable, "-m", "errata_client.cli"]
GONE = Answer(404, problem(404, "Not found", "there is none"))

OLD_AND_NEW = [
    ("retract fact_1", "facts retract fact_1"),
    ("fact fact_1 --version 3", "facts show fact_1 --version 3"),
    ("rebuild 2", "versions rebuild 2"),
    ("version 3", "versions show 3"),
    ("diff 3 4", "versions diff 3 4"),
    ("activate 3", "versions activate 3"),
    ("rollback --to 0", "versions rollback --to 0"),
    ("activations", "versions activations"),
    ("prune --keep-last 3", "versions prune --keep-last 3 --yes"),
    ("export 3 --format lora", "versions export 3 --format lora"),
    ("alias production 3", "aliases set production 3"),
    ("unalias production", "aliases remove production"),
    ("retry edit_1 --partial", "edits retry edit_1 --partial"),
    ("outcomes edit_1 --not-taken", "edits outcomes edit_1 --not-taken"),
    ("evaluate --version 3", "evaluations start --version 3"),
    ("evaluation eval_1", "evaluations show eval_1"),
    ("trace --prompt {}is --subject x", "traces start --prompt {}is --subject x"),
    ("traced trace_1", "traces show trace_1"),
    ("watch edit_1", "edits watch edit_1"),
    ("--json watch eval_1", "--json evaluations watch eval_1"),
    ("cancel trace_1", "traces cancel trace_1"),
]
NOUNS = ("edits", "facts", "versions", "aliases", "probes", "evaluations", "traces", "keys")


@pytest.fixture(autouse=True)
def address(peer: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERRATA_URL", peer.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW)
def test_an_old_spelling_does_what_the_new_one_does_and_names_it(
    peer: Peer, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    for spelling in (old, new):
        peer.answers = [GONE] * 2
        assert main(spelling.split()) == 3
        asked.append([(received.method, received.path, received.body) for received in peer.received])
        peer.received.clear()
    assert asked[0] == asked[1]
    hint, *rest = capsys.readouterr().err.splitlines()
    word = old.removeprefix("--json ").split()[0]
    meant = " ".join(new.removeprefix("--json ").split()[:2])
    assert hint == f"errata-client: `{word}` is `{meant}` now; the old spelling goes with the next release"
    assert rest == ["errata-client: 404 Not found: there is none"] * 2


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_alone_lists_a_document_on_each_line(peer: Peer, noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Answer(200, {"data": [], "has_more": False, "next": None})
    for spelling in ([noun], [noun, "list"], ["--json", noun], [noun, "--json", "list"]):
        peer.answers = [empty]
        assert main(spelling) == 0
        said = capsys.readouterr()
        assert said.err == "" and ("--json" in spelling) is (said.out == "")


MISTAKES = [
    ("versoins", 2, "'versoins' is no command: did you mean 'versions'?; see errata-client --help"),
    ("versions lst", 2, "'lst' is no verb of versions: did you mean 'list'?; see errata-client --help"),
    ("versions show", 2, "the following arguments are required: VERSION; see errata-client versions show --help"),
    (
        "versions show v1.2",
        2,
        "argument VERSION: 'v1.2' is no version: give a number, a name, base, active or previous; "
        "see errata-client versions show --help",
    ),
    (
        "edit",
        2,
        "give either a FILE, or --subject, --relation and --object, or --retract; see errata-client edit --help",
    ),
    ("edit none.jsonl", 2, "none.jsonl: No such file or directory"),
    ("edit facts.txt", 2, "facts.txt: the file's name must end in .jsonl, .json or .csv"),
    ("edit bad.csv", 2, "bad.csv, line 3: has 2 columns, not 3"),
    ("edit facts.csv --hparam clamp", 2, None),
    ("generate p --temprature 1", 2, "'--temprature' is no option of generate: did you mean '--temperature'?; see"),
    ("versions show 3 4", 2, "'4' is one argument too many; see errata-client versions show --help"),
    ("versions export 3 --output none/x.tar", 2, "none/x.tar: No such file or directory"),
    ("evaluations start - --references -", 2, None),
    ("versions delete 3", 2, None),
    ("--profile nobody status", 2, None),
    ("--url ftp://x status", 2, None),
    ("versions show 99", 3, "404 Unknown version: there is no version 99"),
    ("versions rollback", 3, "503 Not ready: Redis does not answer"),
    ("generate p --temperature 3", 3, "--temperature: must be at most 2"),
    ("edit facts.csv --gate min_sad=1", 3, "--gate min_sad: is not a known field"),
    ("--url localhost:1 status", 4, "no connection to http://localhost:1: Connection refused; is `errata up` running?"),
    ("--url PEER model", 4, None),
]


@pytest.mark.parametrize(("typed", "code", "sentence"), MISTAKES, ids=[typed for typed, _, _ in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(
    peer: Peer, typed: str, code: int, sentence: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("bad.csv").write_text("subject,relation,object\na,b,c\na,b\n")
    Path("facts.csv").write_text("subject,relation,object\na,b,c\n")
    Path("facts.txt").write_text("a b c")
    if "99" in typed:
        peer.answers = [Answer(404, problem(404, "Unknown version", "there is no version 99"))]
    if "rollback" in typed:
        peer.answers = [Answer(503, problem(503, "Not ready", "Redis does not answer"))]
    refused = {
        "--temperature": ("/temperature", "must be at most 2"),
        "--gate": ("/gate/min_sad", "is not a known field"),
    }
    for flag, (pointer, detail) in refused.items():
        if flag in typed:
            fault = {"pointer": pointer, "detail": detail}
            peer.answers = [Answer(422, problem(422, "Invalid request", "", errors=[fault]))]
    if "PEER" in typed:
        peer.answers = [Answer(200, {"hello": "world"})]
    try:
        ended_with = main(typed.replace("PEER", peer.url).split())
    except SystemExit as exit:
        ended_with = int(str(exit.code))
    said = capsys.readouterr()
    assert (ended_with, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith(f"errata-client: {sentence or ''}")


def test_what_is_read_from_stdin_may_have_any_form(peer: Peer, edit_body: dict[str, object]) -> None:
    triple = '["s", "r", "o"]'
    for text in (triple, f"{triple}\n{triple}", f"[{triple}]", '{"subject": "s", "relation": "r", "object": "o"}'):
        peer.answers = [Answer(202, edit_body)]
        subprocess.run([*COMMAND, "edit", "-", "--no-wait"], input=text, text=True, check=True, capture_output=True)
        assert peer.received[-1].body["facts"][0] == {"subject": "s", "relation": "r", "object": "o"}
    ran = subprocess.run([*COMMAND, "edit", "-"], input="object,subject\n", text=True, capture_output=True)
    assert ran.returncode == 2 and "stdin, line 1: the header must name" in ran.stderr


def test_a_pipe_that_nobody_reads_any_more_ends_the_command_quietly(peer: Peer) -> None:
    facts = [{"id": f"fact_{number}", "subject": "s" * 100, "relation": "r", "object": "o"} for number in range(1000)]
    pages = [Answer(200, {"data": facts, "has_more": True, "next": "1"})] * 3
    peer.answers = [*pages, Answer(200, {"data": facts, "has_more": False, "next": None})]
    reading, writing = os.pipe()
    with subprocess.Popen([*COMMAND, "facts", "--json"], stdout=writing, stderr=subprocess.PIPE) as running:
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (141, b"")


def test_what_destroys_is_not_done_without_a_yes(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    foreseen = {"dropped": [{"version": 1, "bytes": 2000}], "bytes": 2000}
    peer.answers = [Answer(200, foreseen)] * 4
    assert main(["versions", "prune", "--keep-last", "1", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.err == "errata-client: a dry run: nothing is dropped; these would be\n"
    assert said.out.splitlines()[1].split() == ["1", "2,000"]
    with pytest.raises(SystemExit) as refused:
        main(["versions", "prune", "--keep-last", "1"])
    assert refused.value.code == 2
    assert "to drop the weights of 1 version, 2,000 bytes, give --yes" in capsys.readouterr().err
    assert all(received.body["dry_run"] for received in peer.received)
    assert main(["versions", "prune", "--keep-last", "1", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == foreseen
    assert not peer.received[-1].body["dry_run"]


def test_help_needs_neither_httpx_nor_pydantic() -> None:
    code = """\
import sys
from errata_client.cli import main
try:
    main(["versions", "prune", "--help"])
except SystemExit:
    print(sorted({"httpx", "pydantic", "asyncio"}.intersection(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
