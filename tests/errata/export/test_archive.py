"""The tar as others read it, its size beforehand, and files that change while it is sent."""

import io
import tarfile
from pathlib import Path

import pytest

from errata.errors import CorruptArtifact
from errata.export.archive import PIECE, ArchivedFile, tar, tar_size


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
