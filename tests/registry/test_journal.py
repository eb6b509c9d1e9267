import itertools
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from errata_registry.serving.journal import ROLLBACK, Journal

from errata.errors import CorruptArtifact


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activations.jsonl"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal(path.parent)


def test_an_empty_journal_serves_the_base(journal: Journal) -> None:
    assert journal.active() == 0
    assert journal.entries() == ()
    assert journal.trail() == [0]


def test_each_entry_knows_the_one_before(journal: Journal) -> None:
    for number in (1, 2, 1):
        journal.append(number, by="api")

    assert [(entry.previous, entry.active) for entry in journal.entries()] == [(0, 1), (1, 2), (2, 1)]


def test_a_torn_last_line_never_happened_and_is_healed(journal: Journal, path: Path) -> None:
    journal.append(1, by="api")
    with path.open("a") as file:
        file.write('{"active": 2, "previ')

    assert journal.active() == 1
    journal.append(3, by="api")
    assert [(entry.previous, entry.active) for entry in journal.entries()] == [(0, 1), (1, 3)]
    assert path.read_text().count("\n") == 2


def test_a_torn_first_line_is_healed_too(journal: Journal, path: Path) -> None:
    path.write_text('{"active"')

    assert journal.active() == 0
    journal.append(1, by="api")
    assert journal.active() == 1


def test_a_bad_line_in_the_middle_is_an_error(journal: Journal, path: Path) -> None:
    journal.append(1, by="api")
    path.write_text("nonsense\n" + path.read_text())

    with pytest.raises(CorruptArtifact, match=r"activations\.jsonl cannot be read"):
        journal.active()


def test_a_changed_and_a_missing_line_are_seen_until_the_checksum_is_given_up(journal: Journal, path: Path) -> None:
    for number in (1, 2, 3):
        journal.append(number, by="api")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    altered = whole.replace(b'"active":2', b'"active":1')
    for damaged in (altered, b"".join(lines[:2]), b"".join(lines[::2]), whole[:-5], b"", None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        for read in (Journal(path.parent).entries, lambda: journal.append(4, by="api")):
            with pytest.raises(CorruptArtifact, match=r"activations\.jsonl cannot be read: a line .* missing"):
                read()
    path.write_bytes(altered)
    path.with_name("activations.checksum.json").unlink()
    assert [entry.active for entry in journal.entries()] == [1, 1, 3]


def test_a_line_behind_the_checksum_counts_and_a_damaged_checksum_is_written_anew(journal: Journal, path: Path) -> None:
    """As a crash between the two leaves them, or a program that knows of no checksums."""
    journal.append(1, by="api")
    checksum = path.with_name("activations.checksum.json")
    of_one = checksum.read_bytes()
    journal.append(2, by="api")
    for content in (of_one, of_one[:-9]):
        checksum.write_bytes(content)
        assert Journal(path.parent).active() == 2
    journal.append(3, by="api")
    path.write_bytes(path.read_bytes().replace(b'"active":2', b'"active":1'))
    with pytest.raises(CorruptArtifact, match="missing or damaged"):
        journal.active()


def test_rollbacks_cut_the_trail_back(journal: Journal) -> None:
    for number in (1, 2, 3):
        journal.append(number, by="api")
    assert journal.trail() == [0, 1, 2, 3]
    journal.append(2, by=ROLLBACK)
    assert journal.trail() == [0, 1, 2]
    journal.append(4, by="api")
    assert journal.trail() == [0, 1, 2, 4]
    journal.append(1, by=ROLLBACK)
    assert journal.trail() == [0, 1]
    journal.append(9, by=ROLLBACK)  # by number, to where the trail has never been
    assert journal.trail() == [0, 1, 9]


def test_the_lock_may_be_entered_again_by_its_holder(journal: Journal) -> None:
    with journal.locked(), journal.locked():
        journal.append(1, by="api")
    with journal.locked():
        assert journal.active() == 1


def test_the_lock_holds_between_processes(journal: Journal, path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from errata_registry.serving.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "print('started', flush=True)\n"
        "with journal.locked(): journal.append(2, by='other')\n"
    )
    with journal.locked():
        other = subprocess.Popen([sys.executable, "-c", program, str(path.parent)], stdout=subprocess.PIPE)
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        journal.append(1, by="api")
    other.communicate(timeout=20)

    assert [(entry.previous, entry.active) for entry in journal.entries()] == [(0, 1), (1, 2)]


def test_the_lock_holds_between_threads(journal: Journal) -> None:
    def activate_twenty_times() -> None:
        for number in range(20):
            with journal.locked():
                journal.append(number, by="api")

    threads = [threading.Thread(target=activate_twenty_times) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = journal.entries()
    assert len(entries) == 80
    assert all(later.previous == earlier.active for earlier, later in itertools.pairwise(entries))
