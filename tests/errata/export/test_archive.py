"""The tar as others read it, its size beforehand, and files that change while it is sent."""

import io
import re
import tarfile
from pathlib import Path

import pytest

from errata.errors import CorruptArtifact
from errata.export.archive import PIECE, ArchivedFile, find_files, tar, tar_size


def test_it_is_a_tar_of_the_size_that_was_said(tmp_path: Path) -> None:
    contents = {
        "empty": b"",
        "a block": bytes(range(256)) * 2,
        "more than a piece": b"x" * (PIECE + 1),
        f"{'folder/' * 30}ünicode": b"under a name that only pax can hold",
    }
    files = []
    for number, (name, content) in enumerate(contents.items()):
        (tmp_path / str(number)).write_bytes(content)
        files += [ArchivedFile.of_path(name, tmp_path / str(number)), ArchivedFile.of_bytes(f"copy/{name}", content)]
    archive = b"".join(tar(files))
    assert len(archive) == tar_size(files) and archive == b"".join(tar(files))
    assert max(len(piece) for piece in tar(files[::2])) == PIECE  # those on disk
    with tarfile.open(fileobj=io.BytesIO(archive)) as unpacked:
        for entry in unpacked:
            file = unpacked.extractfile(entry)
            assert file is not None and file.read() == contents[entry.name.removeprefix("copy/")]
            assert (entry.mtime, entry.mode, entry.uid, entry.uname, entry.gname) == (0, 0o644, 0, "", "")
        assert len(unpacked.getnames()) == 2 * len(contents)


def test_a_file_beyond_eight_gibibytes_has_a_header_that_says_so() -> None:
    huge = ArchivedFile("shard", 1 << 35, lambda: ())
    header = next(tar([huge]))
    assert tarfile.TarInfo.frombuf(header[-512:], "utf-8", "strict").name == "shard" and len(header) > 512
    assert tar_size([huge]) > 1 << 35


@pytest.mark.parametrize("now", [b"shorter", b"longer than it was"])
def test_a_file_that_changed_meanwhile_breaks_the_archive_off(tmp_path: Path, now: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"as it was")
    files = [ArchivedFile.of_path("file", path), ArchivedFile.of_bytes("next", b"")]
    path.write_bytes(now)
    received = bytearray()
    with pytest.raises(CorruptArtifact, match="file is no longer of the 9 bytes"):
        for piece in tar(files):
            received += piece
    assert len(received) < tar_size(files)


def test_files_are_found_whoever_wrote_the_tar(tmp_path: Path) -> None:
    contents = {"one": b"1" * 700, "empty": b"", "two": b"22"}
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    ours.write_bytes(b"".join(tar([ArchivedFile.of_bytes(name, content) for name, content in contents.items()])))
    with tarfile.open(theirs, "w") as archive:  # with an extended header for each file's time
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            archive.add(tmp_path / name, name)
    for path in (ours, theirs):
        content = path.read_bytes()
        found = find_files(path)
        assert {name: content[begin : begin + size] for name, (begin, size) in found.items()} == contents


def entry(name: str = "file", size: int = 0, **fields: object) -> bytes:
    """A header, as pax has it."""
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT)


GIGABYTES = 40 << 30
SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(GIGABYTES)}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no tar", "is no tar"),
        (entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "'link' is none"),
        (entry("hard", type=tarfile.LNKTYPE, linkname="file"), "'hard' is none"),
        (entry("device", type=tarfile.CHRTYPE), "'device' is none"),
        (entry("folder", type=tarfile.DIRTYPE), "'folder' is none"),
        (entry("holes", type=tarfile.GNUTYPE_SPARSE), "'holes' is none"),
        (entry("holes", pax_headers=SPARSE), "'holes' is none"),
        (entry("file") * 2, "holds 'file' twice"),
        (entry("file", size=GIGABYTES), "ends before 'file' does"),
        (entry("file", pax_headers={"size": str(GIGABYTES)}), "ends before 'file' does"),
        (entry("header", type=tarfile.XHDTYPE, size=2 * PIECE) + bytes(2 * PIECE), "'header' is none"),
        (entry("\x1b[31mred", type=tarfile.SYMTYPE), r"'\x1b[31mred' is none"),
    ],
)
def test_anything_but_plain_files_that_are_there_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "strange.tar"
    path.write_bytes(content + bytes(1024))
    with pytest.raises(CorruptArtifact, match=re.escape(complaint)):
        find_files(path)
