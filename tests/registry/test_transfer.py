"""A version's way into another home folder, and what `errata verify` finds."""

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from errata_registry import home as base
from errata_registry.jobs.recovery import recover
from errata_registry.registry import Registry
from errata_registry.verification import verify
from errata_registry.versions.folder import CHANGES, DELTA, FACTS, MANIFEST
from errata_registry.versions.retention import drop_weights
from errata_registry.versions.transfer import MAX_MANIFEST_BYTES, files_of, import_version
from safetensors.torch import save_file

from errata.errors import ArtifactError, CorruptArtifact, ModelError, UnknownVersion, WrongBaseModel
from errata.export.archive import tar, tar_size
from errata.facts import Fact
from errata.files import durable
from errata.files.checksums import checked, with_checksum
from tests.registry.conftest import BASE_DIGEST, MATRICES, Publish

PARIS = Fact("Ada Lovelace", "was born in", "Paris")
BERN = Fact("Ada Lovelace", "was born in", "Bern")
ROME = Fact("Alan Turing", "was born in", "Rome")


@pytest.fixture
def archive(registry: Registry, publish: Publish, tmp_path: Path) -> Path:
    """Version 2 of the registry, with two facts, as it is exported."""
    publish(PARIS, edit="edit_1")
    publish(BERN, ROME, edit="edit_2", parent=1)
    files = files_of(registry.artifacts, 2, BASE_DIGEST)
    path = tmp_path / "exported.tar"
    path.write_bytes(b"".join(tar(files)))
    assert path.stat().st_size == tar_size(files)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Another home folder of the same base model."""
    home = tmp_path / "other"
    home.mkdir()
    base.bind(home, "base", BASE_DIGEST, MATRICES, ())
    return home


def test_an_exported_version_is_taken_in_elsewhere(registry: Registry, archive: Path, home: Path) -> None:
    arrived = import_version(home, archive)
    assert (arrived.id, arrived.parent, arrived.edit, arrived.facts, arrived.added) == (1, 0, None, 2, 2)
    assert arrived.imported_from == "version 2 of another home (edit_2)"
    assert arrived.files[DELTA] == registry.artifacts.manifest(2).files[DELTA]
    assert verify(home).faults == ()

    other = Registry(registry.settings.model_copy(update={"home": home}))
    assert [(fact.object, fact.edit) for fact in other.versions.facts(1)] == [("Bern", "edit_2"), ("Rome", "edit_2")]
    other.close()


def test_what_was_taken_in_is_soon_known(registry: Registry, archive: Path) -> None:
    number = import_version(registry.settings.home, archive).id
    recover(registry)
    assert [version.id for version in registry.versions.page().data] == [number, 2, 1, 0]
    assert registry.activations.activate(number).active == number


def test_a_version_of_other_weights_is_not_taken_in(archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "strange"
    home.mkdir()
    with pytest.raises(UnknownVersion, match="does not belong to a base model yet"):
        import_version(home, archive)
    base.bind(home, "another", "c" * 64, MATRICES, ())
    with pytest.raises(WrongBaseModel, match="another"):
        import_version(home, archive)
    assert not list((home / "versions").iterdir())


def repacked(archive: Path, name: str, content: bytes | None) -> Path:
    """The archive with one file replaced, or left out."""
    folder = archive.with_suffix("")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    changed = archive.with_name("changed.tar")
    with tarfile.open(changed, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return changed


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (DELTA, b"no tensors", "delta.safetensors has 10 bytes"),
        (FACTS, b"{}\n", "facts.jsonl has 3 bytes"),
        (MANIFEST, b"{}", "manifest.json cannot be read"),
        (DELTA, None, "holds no delta.safetensors"),
    ],
)
def test_a_damaged_archive_is_refused(
    archive: Path, home: Path, name: str, content: bytes | None, complaint: str
) -> None:
    with pytest.raises(CorruptArtifact, match=complaint):
        import_version(home, repacked(archive, name, content))
    assert not list((home / "versions").iterdir()) and not list((home / "tmp").iterdir())


def forge(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: object) -> None:
    """Change an update, and a manifest so that it agrees with that."""
    path = folder / MANIFEST
    manifest = json.loads(checked(path.read_bytes()))
    if tensors is not None:
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / DELTA)
        layers = {int(name.split(".")[0]): min(tensor.shape) for name, tensor in tensors.items()}
        manifest["layers"] = [{"layer": layer, "rank": rank} for layer, rank in layers.items()]
        stored = {"sha256": durable.sha256(folder / DELTA), "bytes": (folder / DELTA).stat().st_size}
        manifest["files"] = {**manifest["files"], DELTA: stored}
    path.write_text(with_checksum(json.dumps({**manifest, **changes})))


WHOLE = torch.zeros(8, 16)


@pytest.mark.parametrize(
    ("tensors", "changes", "complaint"),
    [
        ({"2.dense": WHOLE.double()}, {}, "2.dense is float64 of shape (8, 16), and not a matrix of float32"),
        ({"2.dense": WHOLE.half()}, {}, "2.dense is float16"),
        ({"2.dense": WHOLE.flatten()[None, :, None]}, {}, "of shape (1, 128, 1)"),
        ({"2.dense": WHOLE.T.contiguous()}, {}, "layer 2: the update is (16, 8), the matrix (8, 16)"),
        ({"2.left": WHOLE, "2.right": WHOLE}, {}, "factors of shape (8, 16) and (8, 16) do not fit"),
        ({"2.left": torch.zeros(8, 9), "2.right": torch.zeros(9, 16)}, {}, "factors of rank 9 are larger"),
        ({"2.dense": WHOLE}, {"layers": []}, "the update is of the layers [2], and the manifest tells of others"),
        ({"99.dense": WHOLE}, {}, "layer 99 cannot be edited: the last of 4 blocks must stay free"),
        ({"3.dense": WHOLE}, {}, "layer 3 cannot be edited: the last of 4 blocks must stay free"),
        ({"-1.dense": WHOLE}, {}, "'-1.dense' is no part of an update"),
        ({"2.dense": WHOLE + 1e18}, {}, "layer 2: the update holds what is no number, or one of more than 32752"),
        ({"2.dense": WHOLE + torch.nan}, {}, "layer 2: the update holds what is no number"),
        ({"2.left": WHOLE[:, :1] + 3e38, "2.right": WHOLE[:1] + 1}, {}, "layer 2: the update holds what is no number"),
        (None, {"format": 2}, "its manifest has form 2, and this program knows form 1 alone"),
        (None, {"note": "x" * 2001}, "its note has 2001 characters; at most 2000 are taken"),
        (None, {"method": "surgery"}, "its hyperparameters cannot be used: method: there is no method 'surgery'"),
        (None, {"hparams": {"layers": [2], "moment_weight": 10**400}}, "its hyperparameters cannot be used"),
    ],
)
def test_what_could_not_be_served_is_neither_taken_in_nor_found_whole(
    registry: Registry,
    publish: Publish,
    home: Path,
    tensors: dict[str, torch.Tensor] | None,
    changes: dict[str, object],
    complaint: str,
) -> None:
    number = publish(PARIS).id
    version = registry.artifacts.folder(number).path
    forge(version, tensors, **changes)
    [fault] = verify(registry.settings.home).faults
    assert fault.startswith("version 1: ") and complaint in fault
    with pytest.raises(CorruptArtifact, match=re.escape(complaint)):
        import_version(home, version)
    assert not list((home / "versions").iterdir()) and not list((home / "tmp").iterdir())


def test_a_manifest_is_not_read_whatever_its_size(archive: Path, home: Path) -> None:
    changed = repacked(archive, MANIFEST, b"{" + b" " * MAX_MANIFEST_BYTES)
    with pytest.raises(CorruptArtifact, match=r"manifest\.json has 4194305 bytes; at most 4194304 are taken"):
        import_version(home, changed)
    assert not list((home / "tmp").iterdir())


def test_what_is_no_plain_file_is_refused(archive: Path, home: Path, tmp_path: Path) -> None:
    folder = repacked(archive, DELTA, b"").with_name("exported")
    (folder / DELTA).unlink()
    (folder / DELTA).symlink_to("/dev/zero")
    with pytest.raises(CorruptArtifact, match=r"delta\.safetensors is no plain file"):
        import_version(home, folder)
    with tarfile.open(archive, "a") as tar:
        tar.addfile(tarfile.TarInfo("/etc/errata"), io.BytesIO())
    with pytest.raises(CorruptArtifact, match="'/etc/errata', a path that leads out of it"):
        import_version(home, archive)
    assert not list((home / "tmp").iterdir())


def test_a_home_that_was_bound_before_shapes_were_noted_asks_the_config(archive: Path, home: Path) -> None:
    rewrite(matrices=None, name="no/such model")(home / base.BASE)
    with pytest.raises(ModelError, match="no/such model is neither a local folder"):
        import_version(home, archive)
    assert "not compared with the base model's matrices" in str(verify(home))
    rewrite(matrices=None, values=None, name="demo")(home / base.BASE)
    with pytest.raises(CorruptArtifact, match=r"layer 2: the update is \(8, 16\), the matrix \(\d+, \d+\)"):
        import_version(home, archive)
    bound = base.bind(home, "base", BASE_DIGEST, MATRICES, ((0, 7, 15, 0.5),))
    assert base.BoundBase.of(home) == bound and (bound.matrices, bound.values) == (MATRICES, ((0, 7, 15, 0.5),))
    assert import_version(home, archive).id == 1


def test_what_is_no_archive_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar")
    for path in (tmp_path / "text.tar", tmp_path / "nothing.tar", tmp_path):
        with pytest.raises(ArtifactError):
            import_version(home, path)
    outside = tmp_path / "outside.tar"
    with tarfile.open(outside, "w") as tar:
        entry = tarfile.TarInfo("../manifest.json")
        tar.addfile(entry, io.BytesIO())
    with pytest.raises(CorruptArtifact, match=r"holds no manifest\.json"):
        import_version(home, outside)


def test_a_whole_home_is_found_whole(registry: Registry, publish: Publish) -> None:
    publish(PARIS)
    publish(BERN, ROME, parent=1)
    publish(ROME, parent=2)
    registry.activations.activate(2)
    registry.versions.name("best", 2)
    registry.versions.delete(1)
    drop_weights(registry, 0)
    verified = verify(registry.settings.home)
    assert verified.faults == ()
    assert str(verified) == "2 versions (1 with dropped weights), 1 deleted ones, 0 edits, 1 activations: all whole"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def rewrite(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = {**json.loads(checked(path.read_bytes())), **changes}
        path.write_text(with_checksum(json.dumps(content)))

    return change


@pytest.mark.parametrize(
    ("place", "damage", "complaint"),
    [
        (f"versions/000002/{DELTA}", truncate, "version 2: delta.safetensors has"),
        (f"versions/000002/{DELTA}", Path.unlink, "version 2: delta.safetensors is missing"),
        (f"versions/000002/{FACTS}", truncate, "version 2: facts.jsonl has"),
        (f"versions/000002/{CHANGES}", truncate, "version 2: changes.jsonl has"),
        (f"versions/000002/{MANIFEST}", truncate, "version 2: manifest.json cannot be read"),
        (f"versions/000002/{MANIFEST}", rewrite(id=5), "version 2: its manifest is that of version 5"),
        (f"versions/000002/{MANIFEST}", rewrite(parent=9), "version 2: it was made of version 9, which is not there"),
        (
            f"versions/000002/{MANIFEST}",
            rewrite(parent=0),
            "version 2: its facts do not differ from those of version 0",
        ),
        (f"versions/000002/{MANIFEST}", rewrite(facts=3), "version 2: it holds 2 facts, and its manifest says 3"),
        (f"versions/000002/{MANIFEST}", rewrite(changed=0), "version 2: its manifest counts other changes"),
        (f"versions/000002/{MANIFEST}", rewrite(layers=[]), "version 2: the update is of the layers"),
        ("versions/000002", shutil.rmtree, "version 2 was activated"),
        ("activations.jsonl", lambda path: path.write_text("{}\n"), "activations.jsonl cannot be read"),
        ("aliases.json", rewrite(best=7), "'best' is a name of version 7, which is not there"),
        ("aliases.json", truncate, "aliases.json cannot be read"),
    ],
)
def test_damage_is_found_and_named(
    registry: Registry, publish: Publish, place: str, damage: Callable[[Path], None], complaint: str
) -> None:
    publish(PARIS)
    publish(BERN, ROME, parent=1)
    registry.activations.activate(2)
    registry.versions.name("best", 1)
    damage(registry.settings.home / place)
    faults = verify(registry.settings.home).faults
    assert any(complaint in fault for fault in faults), faults
