"""Taking a home folder to a bucket: all that counts in it becomes the first entry of the bucket's log.

The folder is a copy from then on, and other machines begin with the same. Caches stay where they are, and are filled
anew elsewhere.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from errata.export.archive import ArchivedFile, tar
from errata.files import durable
from errata_registry.bucket.home_copy import FETCHED_LATER, HomeCopy, position_of
from errata_registry.bucket.log import OBJECTS, Archive, Change, Entry, Log
from errata_registry.bucket.objects import Bucket
from errata_registry.bucket.patience import patiently
from errata_registry.home import BASE, FORM, BoundBase
from errata_registry.jobs.idempotency import forget_old_keys
from errata_registry.jobs.kinds import EDIT, KINDS
from errata_registry.jobs.shards import ShardOrders
from errata_registry.stored import StoredFile
from errata_registry.verification import verify

FILES = (BASE, "activations.jsonl", "activations.checksum.json", "aliases.json", "probes.json")
FOLDERS = (*(f"{kind.name}s" for kind in KINDS), "idempotency", "contexts", "versions")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a bucket was given.

    Attributes:
        files: how many that each machine has from its beginning on.
        updates: how many, of versions, that machines fetch when they first need them.
        bytes: of all of them.
    """

    files: int
    updates: int
    bytes: int


def to_bucket(home: Path, url: str) -> Taken:
    """Take a home folder to an empty bucket. No process of the home may run meanwhile.

    The bucket has all of it or nothing. Doing it again after it was cut off ends it.

    Raises:
        ValueError: the bucket cannot be used, or holds a home; or the folder is no home that is whole.
        OSError: the bucket does not answer, or a disk fails.
        ErrataError: as `BoundBase.of`.
    """
    _require_whole(home)
    _drop_what_is_under_way(home)
    bucket = Bucket(url)
    patiently(bucket.require_conditional_puts)
    packed = durable.scratch_beside(home / "tmp" / "home.tar")
    packed.parent.mkdir(exist_ok=True)
    try:
        files = [ArchivedFile.of_path(path.relative_to(home).as_posix(), path) for path in _files(home)]
        with packed.open("wb") as archive:
            archive.writelines(tar(files))
        entry = _first_entry(home, bucket, packed)
    finally:
        packed.unlink(missing_ok=True)
    copy = HomeCopy(home, bucket)
    copy.begin()
    with copy.lock.held():
        copy.move_to(1, entry)
    assert entry.archive is not None
    sizes = [entry.archive.file.bytes, *(change.file.bytes for change in entry.changes if change.file)]
    return Taken(len(files), len(entry.changes), sum(sizes))


def _require_whole(home: Path) -> None:
    if position := position_of(home):
        raise ValueError(f"{home} is a copy of {position.bucket} already")
    if BoundBase.of(home).format < FORM:
        raise ValueError(
            f"{home} was written by an older Errata: start a service on it once, which brings it up to date"
        )
    if faults := verify(home).faults:
        raise ValueError(f"{home} is not whole ({len(faults)} faults; `errata verify` names all): {faults[0]}")


def _drop_what_is_under_way(home: Path) -> None:
    """Forget the orders of target shards, which are of one machine, and keys that would begin another day there."""
    orders = ShardOrders(home / "edits")
    for job_id in filter(EDIT.is_id, os.listdir(home / "edits")):
        orders.drop(job_id)
    forget_old_keys(home)


def _files(home: Path) -> Iterator[Path]:
    """Give all files that count, but for the updates of versions."""
    yield from (home / name for name in FILES if (home / name).exists())
    for folder in FOLDERS:
        for path in sorted((home / folder).rglob("*")):
            is_scratch = any(part.startswith(".") for part in path.relative_to(home).parts)
            if path.is_file() and path.suffix != FETCHED_LATER and not is_scratch:
                yield path


def _first_entry(home: Path, bucket: Bucket, packed: Path) -> Entry:
    """Put the home into the bucket; return the entry that has it, which an earlier attempt may have put there.

    Raises `ValueError` where the bucket holds another home.
    """
    log, file = Log(bucket), StoredFile.of(packed)
    first, uploaded = patiently(lambda: log.get(1)), list[str]()
    if first is None:
        updates = [_upload(home, bucket, path) for path in sorted(home.glob(f"versions/*/*{FETCHED_LATER}"))]
        name = f"{OBJECTS}home/{secrets.token_hex(8)}"
        patiently(lambda: bucket.upload(name, packed))
        entry = Entry(archive=Archive(object=name, file=file), changes=tuple(updates))
        uploaded = [name, *(change.object for change in updates if change.object)]
        first = patiently(lambda: entry if log.put(1, entry) else log.get(1))
        assert first is not None
        if first.id == entry.id:
            return first
    if first.archive is not None and first.archive.file == file:  # equal homes make equal archives
        return first
    for name in uploaded:
        bucket.delete(name)
    raise ValueError(
        f"{bucket.url} holds a home already: name another bucket or prefix, or let `errata import` bring versions there"
    )


def _upload(home: Path, bucket: Bucket, path: Path) -> Change:
    called = path.relative_to(home).as_posix()
    name = f"{OBJECTS}{called}/{secrets.token_hex(8)}"
    patiently(lambda: bucket.upload(name, path))
    return Change(path=called, object=name, file=StoredFile.of(path))
