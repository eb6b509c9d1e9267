"""Versions that no worker has built, for tests and benchmarks that need one of some kind."""

from collections import Counter
from collections.abc import Mapping, Sequence

from errata_client.records import BASE_VERSION, ChangeKind, LayerChange, Metrics, StoredFact, VersionStatus
from errata_registry.stored import now
from errata_registry.versions.facts import FactIndex, changes_between
from errata_registry.versions.manifest import BaseModelName, Manifest
from errata_registry.versions.store import Artifacts

from errata import deltas
from errata.deltas import Delta


def make_up_version(
    artifacts: Artifacts,
    base_model: BaseModelName,
    updates: Mapping[int, Delta],
    facts: Sequence[StoredFact] = (),
    *,
    parent: int = BASE_VERSION,
    edit: str = "edit_made_up",
    status: VersionStatus = VersionStatus.READY,
) -> Manifest:
    """Put a version with these updates and facts, in canonical order, into a home folder, as a worker would.

    Redis is not told of it.
    """
    before = artifacts.existing(parent).facts() if parent else ()
    changes = changes_between(FactIndex(before), FactIndex(facts))
    kinds = Counter(change.change for change in changes)
    draft = artifacts.draft(facts, changes, lambda path: deltas.write(path, updates))
    manifest = Manifest(
        id=0,
        parent=parent,
        edit=edit,
        method="memit",
        status=status,
        base_model=base_model,
        hparams={"layers": list(updates), "moment_weight": 1.0},
        contexts=(),
        facts=len(facts),
        added=kinds[ChangeKind.ADDED],
        changed=kinds[ChangeKind.CHANGED],
        retracted=kinds[ChangeKind.RETRACTED],
        metrics=Metrics(efficacy=1.0),
        layers=tuple(
            LayerChange(layer=layer, rank=delta.rank, norm=delta.norm, relative_norm=0.0)
            for layer, delta in updates.items()
        ),
        libraries={},
        created_at=now(),
    )
    return artifacts.publish(draft, manifest)
