"""How tables and progress look: plain when piped, and as wide as a terminal where there is one."""

import os
import pty
import subprocess
import sys
import termios
from datetime import UTC, datetime

import pytest
from errata_client.tables import Extra, Free, Look, pairs, table

from tests.client.peer import Answer, Peer

NARROW = Look(width=40)
LONG = "a long note about what was corrected and why that was so"


def test_a_table_is_plain_and_uncut_when_it_is_piped() -> None:
    assert table(["n", Free("text"), Extra("note")], [[1, "日本\x1b[2J", LONG], [10, None, "a\nb"]]).splitlines() == [
        " n  text         note",
        f" 1  日本\\x1b[2J  {LONG}",
        "10  -            a\\nb",
    ]


def test_a_table_folds_free_text_at_its_spaces_and_cuts_what_is_longer() -> None:
    shown = table(
        ["version", "created (UTC)", Free("note")], [[3, datetime(2026, 1, 2, 3, 4, tzinfo=UTC), LONG]], NARROW
    )
    assert shown.splitlines() == [
        "version  created (UTC)     note",
        "      3  2026-01-02 03:04  a long note",
        "                           about what",
        "                           was…",
    ]
    assert table(["n", Free("word")], [[1, "x" * 50]], NARROW).splitlines()[1] == "1  " + "x" * 36 + "…"


def test_a_terminal_that_is_too_narrow_gets_fewer_columns_and_at_last_none() -> None:
    header = ["version", Extra("efficacy"), Extra("specificity"), Free("names")]
    shown = table(header, [[3, 0.5, 0.25, "production"]], Look(width=30))
    assert shown.splitlines() == [
        "version  efficacy  names",
        "      3     0.500  production",
        "(no room for: specificity)",
    ]
    assert table(["edit", "status"], [["edit_" + "0" * 24, "succeeded"]], Look(width=30)).splitlines() == [
        "edit    edit_" + "0" * 16 + "…",
        "status  succeeded",
    ]


def test_colours_tell_a_status_and_end_where_they_began() -> None:
    shown = pairs({"edit": "edit_1", "status": "rejected"}, Look(80, has_colours=True))
    assert shown.splitlines()[1] == "status  \x1b[31mrejected\x1b[0m"


@pytest.mark.parametrize(("no_colour", "has_colours"), [("", True), ("1", False)])
def test_a_list_of_versions_fits_a_terminal_of_80_columns(peer: Peer, no_colour: str, has_colours: bool) -> None:
    version = {
        "id": 3,
        "parent": 2,
        "status": "active",
        "facts": 26,
        "created_at": "2026-11-30T00:39:00Z",
        "note": LONG,
    }
    peer.answers = [Answer(200, {"data": [{**version, "aliases": ["production"]}], "has_more": False, "next": None})]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {**os.environ, "ERRATA_URL": peer.url, "NO_COLOR": no_colour, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "errata_client.cli", "versions"]
    subprocess.run(command, stdout=theirs, env=environment, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert ("\x1b[32mactive" in shown) is has_colours
    lines = shown.replace("\x1b[1m", "").replace("\x1b[32m", "").replace("\x1b[0m", "").splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert "production" in words and "about" in words and "2026-11-30" in words
