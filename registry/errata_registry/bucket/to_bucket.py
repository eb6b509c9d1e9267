"""Taking a home folder to a bucket: all that counts in it becomes the first entry of the bucket's log.

The folder is a copy from then on, and other machines begin with the same. Caches stay where they are, and are filled
anew elsewhere.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from errata.export.archive import ArchivedFile, tar
from errata.files import durable
from errata.files.disk import Refused
from errata_registry.bucket.commits import UNKNOWN
from errata_registry.bucket.home_copy import FETCHED_LATER, HomeCopy, Leaving, leaving_mark, leaving_of, position_of
from errata_registry.bucket.log import ARCHIVES, OBJECTS, Archive, Change, Entry, Log
from errata_registry.bucket.objects import Bucket
from errata_registry.bucket.patience import patiently
from errata_registry.home import BASE, FORM, BoundBase
from errata_registry.jobs.idempotency import forget_old_keys
from errata_registry.jobs.kinds import EDIT, KINDS
from errata_registry.jobs.shards import ShardOrders
from errata_registry.occupancy import vacant
from errata_registry.stored import StoredFile, text_of
from errata_registry.verification import verify

FILES = (BASE, "activations.jsonl", "activations.checksum.json", "aliases.json", "probes.json")
STAYS = "second_moments/"
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
    """Take a home folder to an empty bucket, while none of its processes runs.

    The bucket has all of it or nothing. What was cut off is ended by doing it again; from the moment on at which the
    bucket may have it, nothing else can be done with the folder.

    Raises:
        ValueError: the bucket cannot be used, or holds another home; or the folder is no home that is whole.
        Conflict: processes of the home run.
        OSError: the bucket does not answer, or a disk fails.
        ErrataError: as `BoundBase.of`.
    """
    _require_home_of_its_own(home, url)
    bucket = Bucket(url)
    patiently(bucket.require_conditional_puts)
    log = Log(bucket)
    with vacant(home):
        _require_home_of_its_own(home, url)  # another one may have taken it there since
        leaving = leaving_of(home) or Leaving(bucket=url, entry=secrets.token_hex(12))
        first = patiently(lambda: log.get(1))
        if first is None:
            _require_whole(home)
            _drop_what_is_under_way(home)
            first = _put(home, bucket, log, leaving)
        if first.id != leaving.entry:
            leaving_mark(home).unlink(missing_ok=True)  # it is not there, and cannot come there any more
            raise ValueError(
                f"{url} holds a home already, or second moments that were shared there: name another bucket or prefix, "
                "or let `errata import` bring versions there"
            )
        copy = HomeCopy(home, bucket)
        with copy.lock.held():
            copy.move_to(1, first)
        leaving_mark(home).unlink()
    assert first.archive is not None
    updates = [change.file for change in first.changes if change.file]
    num_bytes = sum(file.bytes for file in (first.archive.file, *updates))
    return Taken(sum(1 for _ in _files(home)), len(updates), num_bytes)


def _require_home_of_its_own(home: Path, url: str) -> None:
    if position := position_of(home):
        raise ValueError(f"{home} is a copy of {position.bucket} already")
    if (leaving := leaving_of(home)) and leaving.bucket != url:
        raise ValueError(f"{home} is on its way to {leaving.bucket}, which may have it already: go on with that first")
    if BoundBase.of(home).format < FORM:
        raise ValueError(
            f"{home} was written by an older Errata: start a service on it once, which brings it up to date"
        )


def _require_whole(home: Path) -> None:
    faults = [fault for fault in verify(home).faults if not fault.startswith(STAYS)]
    if faults:
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


def _put(home: Path, bucket: Bucket, log: Log, leaving: Leaving) -> Entry:
    """Put the home into the bucket; return the first entry of its log, which may be another's.

    Objects are named by what they hold: another attempt finds what an earlier one has uploaded, and one that is given
    up leaves to the bucket's sweep what nobody names.
    """
    there = set(patiently(lambda: bucket.names_after(OBJECTS, OBJECTS)))

    def upload(called: str, path: Path) -> tuple[str, StoredFile]:
        file = StoredFile.of(path)
        name = f"{OBJECTS}{called}/{file.sha256[:32]}"
        if name not in there:
            patiently(lambda: bucket.upload(name, path))
        return name, file

    updates = []
    for path in sorted(home.glob(f"versions/*/*{FETCHED_LATER}")):
        called = path.relative_to(home).as_posix()
        name, file = upload(called, path)
        updates.append(Change(path=called, object=name, file=file))
    packed = durable.scratch_beside(home / "tmp" / "home.tar")
    packed.parent.mkdir(exist_ok=True)
    try:
        with packed.open("wb") as archive:
            named = ((path.relative_to(home).as_posix(), path) for path in _files(home))
            archive.writelines(tar(ArchivedFile.of_path(called, path) for called, path in named))
        name, file = upload(ARCHIVES, packed)
    finally:
        packed.unlink(missing_ok=True)
    entry = Entry(id=leaving.entry, archive=Archive(object=name, file=file), changes=tuple(updates))
    leaving_mark(home).parent.mkdir(exist_ok=True)
    durable.write(leaving_mark(home), text_of(leaving))
    durable.sync(home)
    try:
        first = patiently(lambda: entry if log.put(1, entry) else log.get(1))
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"{error.strerror}{UNKNOWN}; run this again") from error
    assert first is not None
    return first
