"""A version on its way to another home folder: its manifest, facts and update in one tar, and taking such a one in."""

import shutil
import tarfile
import tempfile
from pathlib import Path

from errata_client.records import BASE_VERSION, VersionStatus

from errata import hyperparameters
from errata.errors import CorruptArtifact, InvalidHyperparameters, WrongBaseModel
from errata.export.archive import ArchivedFile
from errata_registry.home import BoundBase
from errata_registry.serving.journal import Journal
from errata_registry.verification import faults_of_files
from errata_registry.versions.facts import FactIndex, changes_between
from errata_registry.versions.folder import DELTA, FACTS, MANIFEST, VersionFolder
from errata_registry.versions.manifest import Manifest
from errata_registry.versions.store import Artifacts

TRANSFERRED = (MANIFEST, FACTS, DELTA)


def files_of(artifacts: Artifacts, number: int, base_digest: str) -> list[ArchivedFile]:
    """The files of a version as they lie in its folder, its update checked. Raises as `Artifacts.delta_file`."""
    folder = artifacts.delta_file(number, base_digest).parent
    return [ArchivedFile.of_path(name, folder / name) for name in TRANSFERRED]


def import_version(home: Path, archive: Path) -> Manifest:
    """Take in a version that was built in another home folder on the same base weights, and give it a number here.

    It is made of version 0, since what it was made of there is not known here; its facts keep their origin. Nothing is
    activated. Services and workers of this home see it within seconds.

    Args:
        archive: a tar as `GET /versions/{n}/export?format=delta` gives it, or a folder with the files of one.

    Raises:
        WrongBaseModel: it was built on other base weights.
        CorruptArtifact: it is not such an archive; or a file in it is missing, truncated, altered, or contradicts
            another.
        UnknownVersion: the home folder does not belong to a base model yet.
    """
    base = BoundBase.of(home)
    artifacts = Artifacts(home)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch)
        (_copied if archive.is_dir() else _unpacked)(archive, path)
        folder = VersionFolder(path, archive.name)
        built_on = folder.manifest.base_model
        if built_on.digest != base.digest:
            raise WrongBaseModel(
                f"{archive.name} was built on {built_on.name} ({built_on.digest[:12]}), and this home folder holds "
                f"edits of {base.name} ({base.digest[:12]}), which has other weights"
            )
        if faults := list(faults_of_files(folder, base)):
            raise CorruptArtifact(f"{archive.name}: {'; '.join(faults)}")
        try:
            hyperparameters.of_method(folder.manifest.method, folder.manifest.hparams)
        except InvalidHyperparameters as error:
            raise CorruptArtifact(f"{archive.name}: its hyperparameters cannot be used: {error}") from error
        facts = folder.facts()
        changes = changes_between(FactIndex(), FactIndex(facts))
        origin = folder.manifest
        arriving = origin.model_copy(
            update={
                "parent": BASE_VERSION,
                "edit": None,
                "imported_from": f"version {origin.id} of another home ({origin.edit or origin.imported_from})",
                "status": VersionStatus.REJECTED if origin.status is VersionStatus.REJECTED else VersionStatus.READY,
                "added": len(facts),
                "changed": 0,
                "retracted": 0,
            }
        )
        written = artifacts.draft(facts, changes, lambda delta: shutil.copyfile(path / DELTA, delta))
        with written as draft, Journal(home).locked():
            return artifacts.publish(draft, arriving)


def _copied(archive: Path, folder: Path) -> None:
    """The wanted files of a folder; marks of a deleted version, say, are not."""
    for name in TRANSFERRED:
        try:
            shutil.copyfile(archive / name, folder / name)
        except OSError as error:
            raise CorruptArtifact(f"{archive.name} is no version exported as `delta`: {error}") from error


def _unpacked(archive: Path, folder: Path) -> None:
    """The wanted files of a tar, whatever else is in it. No name in it decides about a path."""
    try:
        with tarfile.open(archive, "r:") as tar:  # uncompressed, as it was exported: it takes no more room than it has
            for name in TRANSFERRED:
                entry = tar.getmember(name)
                member = tar.extractfile(entry) if entry.isreg() else None
                if member is None:
                    raise CorruptArtifact(f"{archive.name}: {name} is no file")
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(member, file)
    except KeyError:
        raise CorruptArtifact(f"{archive.name} holds no {name}: it is no version exported as `delta`") from None
    except (OSError, tarfile.TarError) as error:
        raise CorruptArtifact(f"{archive.name} cannot be read: {error}") from error
