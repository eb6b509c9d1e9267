import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from errata_registry.registry import Registry
from errata_registry.versions.folder import DELTA, FACTS, MANIFEST

from errata.errors import CorruptArtifact, UnknownVersion, WrongBaseModel
from tests.registry.conftest import BASE_DIGEST, Publish, publish_version


def folder_of(registry: Registry, number: int) -> Path:
    return registry.settings.home / "versions" / f"{number:06d}"


def test_a_published_version_reads_back(registry: Registry, publish: Publish) -> None:
    manifest = publish(edit="edit_7")

    assert manifest.id == 1
    assert registry.artifacts.manifest(1) == manifest
    assert registry.artifacts.of_edit("edit_7") == manifest
    assert [(fact.object, fact.edit) for fact in registry.versions.facts(1)] == [("Paris", "edit_7")]
    assert registry.versions.load_deltas(1, BASE_DIGEST)[2].dense().shape == (8, 16)
    assert registry.versions.load_deltas(0, BASE_DIGEST) == {}


def test_the_rename_allocates_the_number(registry: Registry, publish: Publish) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: publish_version(registry).id, range(12)))

    assert sorted(numbers) == list(range(1, 13))
    assert all(registry.artifacts.manifest(number).id == number for number in numbers)


def test_a_number_that_is_taken_is_left_alone(registry: Registry, publish: Publish) -> None:
    first = publish()
    stray = folder_of(registry, 2)
    draft = registry.artifacts.draft([], [], lambda path: path.write_bytes(b"delta"))
    stray.mkdir()
    (stray / "something").touch()

    assert registry.artifacts.publish(draft, first).id == 3


def test_a_draft_is_not_a_version(registry: Registry) -> None:
    registry.artifacts.draft([], [], lambda path: path.write_bytes(b"delta"))

    assert registry.artifacts.numbers() == []


def test_a_truncated_delta_is_refused(registry: Registry, publish: Publish) -> None:
    publish()
    path = folder_of(registry, 1) / DELTA
    size = path.stat().st_size
    os.truncate(path, size // 2)

    with pytest.raises(CorruptArtifact, match=f"version 1: delta.safetensors has {size // 2} bytes instead of {size}"):
        registry.versions.load_deltas(1, BASE_DIGEST)


@pytest.mark.parametrize("name", [DELTA, FACTS])
def test_an_altered_file_is_refused(registry: Registry, publish: Publish, name: str) -> None:
    publish()
    path = folder_of(registry, 1) / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)

    with pytest.raises(CorruptArtifact, match=f"{name} does not have the checksum"):
        if name == DELTA:
            registry.versions.load_deltas(1, BASE_DIGEST)
        else:
            registry.versions.facts(1)


def test_a_missing_delta_is_refused(registry: Registry, publish: Publish) -> None:
    publish()
    (folder_of(registry, 1) / DELTA).unlink()

    with pytest.raises(CorruptArtifact, match=r"delta\.safetensors is missing"):
        registry.versions.load_deltas(1, BASE_DIGEST)


def test_an_unreadable_manifest_is_named(registry: Registry, publish: Publish) -> None:
    publish()
    (folder_of(registry, 1) / MANIFEST).write_text('{"format": 1')

    with pytest.raises(CorruptArtifact, match=r"version 1: manifest\.json cannot be read"):
        registry.artifacts.manifest(1)


def test_a_version_of_other_base_weights_is_refused(registry: Registry, publish: Publish) -> None:
    publish(digest="c" * 64)

    with pytest.raises(WrongBaseModel, match="version 1 was built on base"):
        registry.versions.load_deltas(1, BASE_DIGEST)


def test_a_deleted_version_leaves_its_history_and_its_number(registry: Registry, publish: Publish) -> None:
    publish()
    registry.versions.delete(1)

    assert (folder_of(registry, 1) / MANIFEST).exists()
    assert (folder_of(registry, 1) / FACTS).exists()
    assert not (folder_of(registry, 1) / DELTA).exists()
    with pytest.raises(UnknownVersion, match="version 1 was deleted"):
        registry.versions.facts(1)
    assert publish().id == 2


def test_the_version_of_an_edit_is_found_behind_one_that_cannot_be_read(registry: Registry, publish: Publish) -> None:
    publish(edit="edit_1")
    publish(edit="edit_2")
    (registry.settings.home / "versions/000002/manifest.json").write_bytes(b"\xff")

    found = registry.artifacts.of_edit("edit_1")
    assert found is not None and found.id == 1
    assert registry.artifacts.of_edit("edit_2") is None
