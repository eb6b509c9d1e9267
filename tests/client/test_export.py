"""Exports: whole under their name, or not there at all."""

from pathlib import Path

import pytest
from errata_client import Conflict, ConnectionFailed, RequestTimedOut, UnexpectedAnswer

from tests.client.peer import Answer, Call, Peer, problem

TAR = {"Content-Type": "application/x-tar"}
NOW = {"Retry-After": "0"}
OLD = b"what was there"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Where an older export lies."""
    to = tmp_path / "errata-3-lora.tar"
    to.write_bytes(OLD)
    return to


def test_a_tar_file_takes_its_name_when_it_is_whole(peer: Peer, call: Call, to: Path) -> None:
    content = bytes(range(256)) * 4096
    peer.answers = [Answer(503, headers=NOW), Answer(drops=True), Answer(body=content, headers=TAR)]
    assert call("export", 3, to, "lora") == to
    assert to.read_bytes() == content and list(to.parent.iterdir()) == [to]
    assert {received.path for received in peer.received} == {"/versions/3/export?format=lora"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(body=b"a part", headers=TAR, lacks=1), ConnectionFailed),
        (Answer(chunks=[b"a part"], headers=TAR, drops=True), ConnectionFailed),
        (Answer(chunks=[b"a part"], headers=TAR, holds_open_s=1.0), RequestTimedOut),
        (Answer(409, problem(409, "Weights dropped", "build version 3 again")), Conflict),
        (Answer(body=b"<html>hello</html>"), UnexpectedAnswer),
    ],
    ids=["too short", "dropped", "silent", "refused", "no tar file"],
)
def test_a_download_that_does_not_end_well_leaves_what_was_there(
    peer: Peer, call: Call, to: Path, answer: Answer, kind: type[Exception]
) -> None:
    peer.answers = [answer]
    with pytest.raises(kind):
        call("export", 3, to, client={"timeout": 0.5})
    assert to.read_bytes() == OLD and list(to.parent.iterdir()) == [to]
    assert len(peer.received) == 1


def test_what_cannot_be_written_is_told_before_anything_is_asked_for(peer: Peer, call: Call, tmp_path: Path) -> None:
    for to, kind in ((tmp_path, IsADirectoryError), (tmp_path / "none" / "x.tar", FileNotFoundError)):
        with pytest.raises(kind):
            call("export", 3, to)
    assert peer.received == [] and list(tmp_path.iterdir()) == []
