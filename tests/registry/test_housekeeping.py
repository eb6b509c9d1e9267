"""What became of facts through the versions, names of versions, and weights that are dropped and put back."""

import pytest
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.requests import EditRequest, RebuildRequest
from errata_registry.registry import Registry
from errata_registry.serving.aliases import Aliases
from errata_registry.verification import verify
from errata_registry.versions.folder import CHANGES, DELTA, MANIFEST
from errata_registry.versions.retention import drop_weights

from errata import deltas
from errata.errors import Conflict, ProtectedAlias, UnknownAlias, UnknownVersion, WeightsDropped
from errata.facts import Fact
from tests.registry.conftest import BASE_DIGEST, Publish

PARIS = Fact("Ada Lovelace", "was born in", "Paris")
BERN = Fact("Ada Lovelace", "was born in", "Bern")
ROME = Fact("Alan Turing", "was born in", "Rome")


def test_the_history_of_a_fact_goes_through_all_versions(registry: Registry, publish: Publish) -> None:
    publish(PARIS, edit="edit_1")
    publish(PARIS, ROME, edit="edit_2", parent=1)
    publish(BERN, ROME, edit="edit_3", parent=2)
    publish(ROME, edit="edit_4", parent=3)
    publish(BERN, edit="edit_5", parent=1)  # a branch
    registry.versions.delete(3)

    history = list(registry.versions.history(PARIS.id))

    assert [(e.version, e.parent, e.edit, e.change, e.before, e.after) for e in history] == [
        (5, 1, "edit_5", "changed", "Paris", "Bern"),
        (4, 3, "edit_4", "retracted", "Bern", None),
        (3, 2, "edit_3", "changed", "Paris", "Bern"),
        (1, 0, "edit_1", "added", None, "Paris"),
    ]
    assert list(registry.versions.history(Fact("Nobody", "is", "here").id)) == []


def test_a_name_stands_for_one_version_and_keeps_it(registry: Registry, publish: Publish) -> None:
    publish()
    publish()
    registry.versions.name("production", 1)
    registry.versions.name("best", 1)
    assert registry.versions.get(1).aliases == ("best", "production")
    with pytest.raises(Conflict, match="best, production"):
        registry.versions.delete(1)
    registry.versions.name("production", 2)
    registry.versions.take_name("best")
    assert registry.aliases.all() == {"production": 2}
    registry.versions.delete(1)
    with pytest.raises(UnknownVersion):
        registry.versions.name("production", 1)
    with pytest.raises(UnknownAlias, match="best"):
        registry.versions.take_name("best")


def test_a_protected_name_stays_where_it_is_until_it_is_unprotected(registry: Registry, publish: Publish) -> None:
    publish()
    publish()
    registry.versions.name("production", 1)
    registry.versions.protect_name("production", who="chief", note="the shop answers with it")
    refused = "name production of version 1 is protected by chief .the shop answers with it.; unprotect it first"
    for change in (
        lambda: registry.versions.name("production", 2),
        lambda: registry.versions.take_name("production"),
        lambda: registry.versions.delete(1),
    ):
        with pytest.raises(ProtectedAlias, match=refused):
            change()
    assert registry.versions.name("production", 1) == 1
    registry.redis.flushdb()
    recover(registry)
    assert Aliases(registry.settings.home).get("production").protection is not None
    registry.versions.unprotect_name("production")
    registry.versions.name("production", 2)
    assert registry.aliases.get("production").protection is None
    with pytest.raises(UnknownAlias):
        registry.versions.protect_name("nobody")


def test_weights_that_nobody_needs_are_dropped_and_others_never(
    registry: Registry, publish: Publish, request_body: EditRequest
) -> None:
    edit = registry.edits.create_edit(request_body)
    for _ in range(7):
        publish()
    publish(edit=edit.id)  # its worker died before it could settle what becomes of it
    publish()
    registry.versions.name("keep", 1)
    registry.activations.activate(3)
    registry.activations.activate(5)

    assert drop_weights(registry, 10, dry_run=True) == drop_weights(registry, 100, dry_run=True) == ()
    foreseen = drop_weights(registry, 1, dry_run=True)
    assert [dropped.version for dropped in foreseen] == [2, 4, 6, 7] and foreseen[0].bytes > 0
    assert not registry.versions.get(2).dropped
    assert drop_weights(registry, 1) == foreseen
    assert drop_weights(registry, 1) == ()

    assert [version.id for version in registry.versions.page().data if version.dropped] == [7, 6, 4, 2]
    assert len(registry.versions.facts(2)) == 1
    for use in (
        lambda: registry.activations.activate(2),
        lambda: registry.versions.load_deltas(2, BASE_DIGEST),
        lambda: registry.versions.name("best", 2),
    ):
        with pytest.raises(WeightsDropped, match="rebuild"):
            use()
    registry.redis.flushdb()
    recover(registry)
    assert registry.versions.get(2).dropped


def test_dropped_weights_are_put_back(registry: Registry, publish: Publish) -> None:
    publish()
    before = registry.versions.load_deltas(1, BASE_DIGEST)
    with pytest.raises(Conflict, match="are there"):
        registry.edits.create_edit(RebuildRequest(rebuild=1))
    drop_weights(registry, 0)
    edit = registry.edits.create_edit(RebuildRequest(rebuild=1))
    assert (edit.rebuild, edit.version, edit.facts) == (True, 1, 0)
    assert registry.edits.create_edit(RebuildRequest(rebuild=1)) == edit

    written = registry.artifacts.draft((), (), lambda path: deltas.write(path, before))
    with written as draft, registry.activations.deciding():
        restored = registry.artifacts.restore(registry.artifacts.manifest(1), draft)

    assert restored.files[DELTA] == draft.files[DELTA] and not draft.folder.exists()
    assert not registry.versions.get(1).dropped
    assert registry.activations.activate(1).active == 1


def test_what_redis_was_not_told_is_seen_all_the_same(registry: Registry, publish: Publish) -> None:
    """As where Redis went away in the middle of a change."""
    for _ in range(3):
        publish()
    registry.artifacts.drop(1)
    registry.artifacts.delete(2)
    assert registry.versions.get(1).dropped
    assert registry.edits.create_edit(RebuildRequest(rebuild=1)).rebuild
    with pytest.raises(UnknownVersion):
        registry.versions.get(2)
    recover(registry)
    assert [version.id for version in registry.versions.page().data] == [3, 1, 0]


def test_a_version_that_cannot_be_read_hides_no_history(registry: Registry, publish: Publish) -> None:
    publish(PARIS)
    publish(BERN, parent=1)
    publish(PARIS, parent=2)
    folder = registry.artifacts.folder(2).path
    (folder / CHANGES).write_text('damaged: "id":"' + PARIS.id + '"\n')
    assert [event.version for event in registry.versions.history(PARIS.id)] == [3, 1]


def test_versions_from_before_changes_were_kept_have_a_history(registry: Registry, publish: Publish) -> None:
    publish(PARIS)
    publish(BERN, parent=1)
    publish(BERN, ROME, parent=2)
    for number in (1, 2, 3):
        folder = registry.artifacts.folder(number)
        without = {name: file for name, file in folder.manifest.files.items() if name != CHANGES}
        (folder.path / MANIFEST).write_text(folder.manifest.model_copy(update={"files": without}).model_dump_json())
        (folder.path / CHANGES).unlink()
    assert [(e.version, e.change) for e in registry.versions.history(PARIS.id)] == [
        (2, "changed"),
        (1, "added"),
    ]
    assert [e.version for e in registry.versions.history(ROME.id)] == [3]
    assert verify(registry.settings.home).faults == ()
