"""A version on its way to another home folder: its manifest, facts and update in one tar, and taking such a one in."""

import shutil
import stat
from io import BufferedReader
from pathlib import Path

from errata_client.records import BASE_VERSION, VersionStatus

from errata.errors import CorruptArtifact, WrongBaseModel
from errata.export.archive import ArchivedFile, find_files, read_pieces
from errata_registry.commits import FOLDER, Commits
from errata_registry.home import BoundBase
from errata_registry.serving.journal import Journal
from errata_registry.verification import faults_of_files
from errata_registry.versions.facts import FactIndex, changes_between
from errata_registry.versions.folder import DELTA, FACTS, MANIFEST, VersionFolder
from errata_registry.versions.manifest import Manifest
from errata_registry.versions.store import Artifacts

TRANSFERRED = (MANIFEST, FACTS, DELTA)
MAX_MANIFEST_BYTES = 4 << 20  # one that tells of every prompt that failed a gate has less


def files_of(artifacts: Artifacts, number: int, base_digest: str) -> list[ArchivedFile]:
    """The files of a version as they lie in its folder, its update checked. Raises as `Artifacts.delta_file`."""
    folder = artifacts.delta_file(number, base_digest).parent
    return [ArchivedFile.of_path(name, folder / name) for name in TRANSFERRED]


def import_version(home: Path, archive: Path, commits: Commits = FOLDER) -> Manifest:
    """Take in a version that was built in another home folder on the same base weights, and give it a number here.

    It is made of version 0, since what it was made of there is not known here; its facts keep their origin. Nothing is
    activated. Services and workers of this home see it within seconds.

    Args:
        archive: a tar as `GET /versions/{n}/export?format=delta` gives it, or a folder with the files of one.

    Raises:
        WrongBaseModel: it was built on other base weights.
        CorruptArtifact: it is not such an archive; or a file in it is missing, truncated, altered, contradicts another,
            or could not be served here (see `faults_of_files`). Nothing of it is left in the home folder.
        UnknownVersion: the home folder does not belong to a base model yet.
        ModelError: the home folder does not say what shapes the base model's matrices have, nor does its config.
    """
    base = BoundBase.of(home)
    artifacts = Artifacts(home, commits)
    scratch = artifacts.scratch_folder()
    try:
        (_copied if archive.is_dir() else _unpacked)(archive, scratch)
        folder = VersionFolder(scratch, archive.name)
        built_on = folder.manifest.base_model
        if built_on.digest != base.digest:
            raise WrongBaseModel(
                f"{archive.name} was built on {built_on.name} ({built_on.digest[:12]}), and this home folder holds "
                f"edits of {base.name} ({base.digest[:12]}), which has other weights"
            )
        if faults := list(faults_of_files(folder, base, base.matrix_shapes())):
            raise CorruptArtifact(f"{archive.name}: {'; '.join(faults)}")
        facts = folder.facts()
        written = artifacts.draft(facts, changes_between(FactIndex(), FactIndex(facts)), (scratch / DELTA).replace)
        with written as draft, Journal(home, commits).locked():
            return artifacts.publish(draft, _arriving(folder.manifest, len(facts)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _arriving(origin: Manifest, num_facts: int) -> Manifest:
    """Return the manifest of a version that comes from another home."""
    return origin.model_copy(
        update={
            "parent": BASE_VERSION,
            "edit": None,
            "imported_from": f"version {origin.id} of another home ({origin.edit or origin.imported_from})",
            "status": VersionStatus.REJECTED if origin.status is VersionStatus.REJECTED else VersionStatus.READY,
            "added": num_facts,
            "changed": 0,
            "retracted": 0,
        }
    )


def _copied(archive: Path, folder: Path) -> None:
    """Copy the wanted files of a folder; marks of a deleted version, say, are not."""
    for name in TRANSFERRED:
        path = archive / name
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise CorruptArtifact(f"{archive.name}: {name} is no plain file")
            with path.open("rb") as file:
                _take(file, name, status.st_size, folder)
        except OSError as error:
            raise CorruptArtifact(f"{archive.name} is no version exported as `delta`: {error}") from error


def _unpacked(archive: Path, folder: Path) -> None:
    """Unpack the wanted files of a tar, whatever other files are in it. No name in it decides about a path."""
    try:
        found = find_files(archive)
    except OSError as error:
        raise CorruptArtifact(f"{archive.name} cannot be read: {error}") from error
    for name in TRANSFERRED:
        if name not in found:
            raise CorruptArtifact(f"{archive.name} holds no {name}: it is no version exported as `delta`")
    if outside := [name for name in found if name.startswith("/") or ".." in name.split("/")]:
        raise CorruptArtifact(f"{archive.name} holds {outside[0]!r}, a path that leads out of it")
    with archive.open("rb") as file:
        for name in TRANSFERRED:
            begin, num_bytes = found[name]
            file.seek(begin)
            _take(file, name, num_bytes, folder)


def _take(file: BufferedReader, name: str, num_bytes: int, folder: Path) -> None:
    """Write the next bytes of an open file to the file `name` of `folder`."""
    if name == MANIFEST and num_bytes > MAX_MANIFEST_BYTES:
        raise CorruptArtifact(f"{MANIFEST} has {num_bytes} bytes; at most {MAX_MANIFEST_BYTES} are taken")
    with (folder / name).open("wb") as taken:
        taken.writelines(read_pieces(file, num_bytes))
