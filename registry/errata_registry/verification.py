"""`errata verify`: whether what a home folder holds is whole, and agrees with itself. It changes nothing of that."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata_client.records import BASE_VERSION, ActivationEntry, ChangeKind, Edit

from errata import deltas, hyperparameters
from errata.deltas import LARGEST_NUMBER, Delta
from errata.errors import ArtifactError, ErrataError, InvalidFacts, InvalidHyperparameters, ModelError, UnknownJob
from errata.facts import FactSet
from errata_registry.checksums import check_files
from errata_registry.commits import FOLDER, Commits
from errata_registry.home import BoundBase, MatrixShapes
from errata_registry.jobs.folder import JobFolder
from errata_registry.jobs.kinds import KINDS
from errata_registry.jobs.requests import MAX_NOTE_CHARACTERS
from errata_registry.serving.aliases import Aliases
from errata_registry.serving.journal import Journal
from errata_registry.versions.facts import FactIndex, changes_between, fact_of
from errata_registry.versions.folder import CHANGES, DELTA, VersionFolder
from errata_registry.versions.manifest import FORMAT
from errata_registry.versions.store import Artifacts


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, a line for each thing that is wrong, and one for each damaged target of the cache."""

    looked_at: str
    faults: tuple[str, ...]
    damaged_targets: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The faults, and below them what they are faults of."""
        found = f"{len(self.faults)} faults" if self.faults else "all whole"
        if self.damaged_targets:
            found += f"; {len(self.damaged_targets)} targets of the cache are damaged"
        told = (*self.faults, *self.damaged_targets)
        return *(line.replace("\n", " ") for line in told), f"{self.looked_at}: {found}"

    def __str__(self) -> str:
        return "\n".join(self.lines)


def verify(home: Path, commits: Commits = FOLDER) -> Verified:
    """Look at every manifest, fact set, update, name, edit, measurement and activation of a home folder, and at every
    other file that has a checksum.

    Raises as `BoundBase.of`.
    """
    base, journal, artifacts = BoundBase.of(home), Journal(home, commits), Artifacts(home, commits)
    faults = [] if (home / "versions").is_dir() else ["the folder of versions is not there"]
    shapes, not_compared = None, ""
    try:
        shapes = base.matrix_shapes()
    except ModelError as error:
        not_compared = f" (updates were not compared with the base model's matrices: {error})"
    folders = []
    for number in artifacts.all_numbers():
        with journal.locked():  # nobody drops, restores or deletes it meanwhile
            folders.append(folder := artifacts.fetched(artifacts.folder(number)))
            of_version = _told(_faults_of_version(artifacts, number, base, shapes), folder.called)
            faults += [f"{folder.called}: {fault}" for fault in of_version]
    activations: tuple[ActivationEntry, ...] = ()
    try:
        activations = journal.entries()
    except ArtifactError as error:
        faults.append(str(error))
    faults += _faults_of_activations(artifacts, activations)
    faults += _told(_faults_of_names(artifacts, Aliases(home)))
    jobs = [JobFolder(kind, home) for kind in KINDS]
    for folder_of_kind in jobs:
        faults += _faults_of_jobs(artifacts, folder_of_kind)
    checks = check_files(home)
    faults += checks.faults
    deleted = sum(folder.is_deleted for folder in folders)
    dropped = sum(folder.is_dropped and not folder.is_deleted for folder in folders)
    looked_at = (
        f"{len(folders) - deleted} versions ({dropped} with dropped weights), {deleted} deleted ones, "
        f"{len(jobs[0].ids())} edits, {len(activations)} activations{not_compared}"
    )
    if checks.without:
        looked_at += f" ({checks.without} files have no checksum: they get one when they are next written)"
    return Verified(looked_at, tuple(faults), checks.damaged_targets)


def _told(faults: Iterator[str], called: str = "") -> Iterator[str]:
    """Give the faults of what is `called` so; one that keeps the rest from being looked at is the last of them."""
    try:
        yield from faults
    except ArtifactError as error:
        yield str(error).removeprefix(f"{called}: ")


def faults_of_files(folder: VersionFolder, base: BoundBase, shapes: MatrixShapes | None) -> Iterator[str]:
    """Give what is wrong with manifest, facts and update of one version by themselves: all that would keep a process
    from serving it, building it again or showing it.

    Args:
        shapes: of the base model's matrices; None compares updates with none.

    Raises `CorruptArtifact` where the manifest cannot be read.
    """
    manifest = folder.manifest
    if manifest.format != FORMAT:
        yield f"its manifest has form {manifest.format}, and this program knows form {FORMAT} alone"
        return
    built_on = manifest.base_model
    if built_on.digest != base.digest:
        yield (
            f"it was built on {built_on.name} ({built_on.digest[:12]}), and the base model here "
            f"is {base.name} ({base.digest[:12]}), which has other weights"
        )
    for name in ("edit", "by", "imported_from", "note"):
        length = len(getattr(manifest, name) or "")
        if length > MAX_NOTE_CHARACTERS:
            yield f"its {name} has {length} characters; at most {MAX_NOTE_CHARACTERS} are taken"
    try:
        hyperparameters.of_method(manifest.method, manifest.hparams)
    except InvalidHyperparameters as error:
        yield f"its hyperparameters cannot be used: {error}"
    yield from _told(_faults_of_facts(folder), folder.called)
    yield from _told(_faults_of_update(folder, shapes), folder.called)


def _faults_of_facts(folder: VersionFolder) -> Iterator[str]:
    stored, count = folder.facts(), folder.manifest.facts
    if len(stored) != count:
        yield f"it holds {len(stored)} facts, and its manifest says {count}"
    yield from (f"{fact.id} is not the id of its fact" for fact in stored if fact_of(fact).id != fact.id)
    try:
        in_order = [fact.id for fact in FactSet(map(fact_of, stored))]
    except InvalidFacts as error:
        yield f"its facts are no fact set: {error}"
        return
    if in_order != [fact.id for fact in stored]:
        yield "its facts are not in canonical order"


def _faults_of_update(folder: VersionFolder, shapes: MatrixShapes | None) -> Iterator[str]:
    if folder.is_deleted or folder.is_dropped:
        if (folder.path / DELTA).exists():
            yield f"its weights are to be gone, and {DELTA} is still there"
        return
    updates = deltas.read(folder.checked(DELTA))
    ranks = {report.layer: report.rank for report in folder.manifest.layers}
    if list(updates) != list(ranks):
        yield f"the update is of the layers {list(updates)}, and the manifest tells of others"
    for layer, delta in updates.items():
        if delta.right is not None and delta.rank != ranks.get(layer, delta.rank):
            yield f"layer {layer}: the update has rank {delta.rank}, and the manifest says {ranks[layer]}"
        yield from _faults_of_layer(layer, delta, shapes)


def _faults_of_layer(layer: int, delta: Delta, shapes: MatrixShapes | None) -> Iterator[str]:
    d_model, d_in = delta.shape
    if delta.right is not None and delta.rank * (d_model + d_in) >= d_model * d_in:
        yield f"layer {layer}: factors of rank {delta.rank} are larger than the whole update, which would be stored"
    if shapes is not None and layer >= len(shapes) - 1:
        yield f"layer {layer} cannot be edited: the last of {len(shapes)} blocks must stay free"
    elif shapes is not None:
        deltas.require_shape(layer, delta, shapes[layer])
    if not delta.has_usable_numbers:
        yield f"layer {layer}: the update holds what is no number, or one of more than {LARGEST_NUMBER:.0f}"


def _faults_of_version(
    artifacts: Artifacts, number: int, base: BoundBase, shapes: MatrixShapes | None
) -> Iterator[str]:
    folder = artifacts.folder(number)
    faults = list(faults_of_files(folder, base, shapes))
    yield from faults
    if faults:
        return
    manifest = folder.manifest
    if manifest.id != number:
        yield f"its manifest is that of version {manifest.id}"
    if manifest.parent != BASE_VERSION and manifest.parent not in artifacts.all_numbers():
        yield f"it was made of version {manifest.parent}, which is not there"
        return
    if CHANGES not in manifest.files:  # it was written before versions told of their changes
        return
    changes = folder.changes()
    try:
        before = () if manifest.parent == BASE_VERSION else artifacts.folder(manifest.parent).facts()
    except ArtifactError:  # it is told of the other version
        return
    counts = Counter(change.change for change in changes)
    if [counts[kind] for kind in ChangeKind] != [manifest.added, manifest.changed, manifest.retracted]:
        yield "its manifest counts other changes than there are"
    if set(changes_between(FactIndex(before), FactIndex(folder.facts()))) != set(changes):
        yield f"its facts do not differ from those of version {manifest.parent} as it says"


def _faults_of_activations(artifacts: Artifacts, entries: Sequence[ActivationEntry]) -> Iterator[str]:
    known = {BASE_VERSION, *artifacts.all_numbers()}
    for entry in entries:
        if entry.active not in known:
            yield f"version {entry.active} was activated at {entry.at}, and is not there"
    active = entries[-1].active if entries else BASE_VERSION
    if active != BASE_VERSION and active in known:
        folder = artifacts.folder(active)
        if folder.is_deleted or folder.is_dropped:
            yield f"version {active} is active, and its weights are not there"


def _faults_of_names(artifacts: Artifacts, aliases: Aliases) -> Iterator[str]:
    there = {BASE_VERSION, *artifacts.numbers()}
    yield from (
        f"{name!r} is a name of version {number}, which is not there"
        for name, number in aliases.all().items()
        if number not in there
    )


def _faults_of_jobs(artifacts: Artifacts, jobs: JobFolder[Any, Any]) -> Iterator[str]:
    known = set(artifacts.all_numbers())
    for job_id in jobs.ids():
        try:
            jobs.accepted(job_id)
            outcome = jobs.outcome(job_id)
            for name in jobs.files(job_id):
                jobs.file(job_id, name)
        except UnknownJob:  # a folder that nothing was put into
            continue
        except (ErrataError, OSError) as error:
            yield f"{job_id}: {error}" if isinstance(error, OSError) else str(error)
            continue
        if isinstance(outcome, Edit) and outcome.version not in {None, *known}:
            yield f"{job_id} made version {outcome.version}, which is not there"
