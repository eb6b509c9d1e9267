"""Files that say themselves what their bytes must be."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from errata.files.checksums import Damaged, checked, has_checksum, with_checksum
from errata.files.tensors import Checks, checksum_fits, store

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(4).to(torch.bfloat16)}

VALUES: list[dict[str, object]] = [
    {},
    {"checksum": 3},
    {"format": 1, "text": 'Zürich "a", {b}', "at": None, "many": [1, {"x": 2.5}]},
]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("value", VALUES)
def test_an_object_comes_back_and_no_flipped_bit_goes_unseen(value: dict[str, object], indent: int | None) -> None:
    content = with_checksum(json.dumps(value, indent=indent, ensure_ascii=False)).encode()
    assert has_checksum(content)
    assert json.loads(checked(content)) == value
    json.loads(content)  # a program that knows of no checksums reads it, too
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = json.loads(checked(bytes(flipped)))
        except ValueError:  # of which `Damaged` is one
            continue
        # What is left is a flip in the word `checksum` or in the space around it: it counts as having none.
        assert {name: found[name] for name in value} == value


def test_what_has_no_checksum_is_given_back_as_it_is() -> None:
    for content in (b'{"a": 1}', b'{"checksum": 7}', b"[1, 2]", b"", b"nonsense"):
        assert not has_checksum(content)
        assert checked(content) == content


def test_another_objects_checksum_does_not_fit() -> None:
    content = with_checksum('{"a": 1}')
    for damaged in (content.replace("1}", "2}"), content[:-3], with_checksum('{"a": 2}')[:20] + content[20:]):
        with pytest.raises(Damaged, match="its checksum does not fit what it holds"):
            checked(damaged.encode())


def test_no_flipped_bit_of_stored_tensors_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    store(path, TENSORS, {"of": "layer 3", "model": "0" * 64})
    assert checksum_fits(path)
    with safe_open(path, framework="pt") as stored:
        assert stored.metadata()["of"] == "layer 3" and torch.equal(stored.get_tensor("b"), TENSORS["b"])
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert not checksum_fits(path), bit
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert not checksum_fits(path), length


def test_tensors_of_before_are_checked_by_what_they_have(tmp_path: Path) -> None:
    path, tensor = tmp_path / "old.safetensors", torch.arange(6.0)
    save_file({"a": tensor}, path, metadata={"layer": "3"})
    assert checksum_fits(path) is None
    save_file({"a": tensor}, path, metadata={"sha256": hashlib.sha256(tensor.numpy().tobytes()).hexdigest()})
    assert checksum_fits(path) is True
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert checksum_fits(path) is False


def test_a_file_is_gone_through_again_only_where_it_has_changed(tmp_path: Path) -> None:
    path, checks = tmp_path / "some.safetensors", Checks()
    store(path, TENSORS, {})
    assert checks.damaged([path, tmp_path / "missing"]) == []
    status, whole = path.stat(), path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk changes it: nothing tells of it
    assert checks.damaged([path]) == [] and Checks().damaged([path]) == [path]
    path.touch()
    assert checks.damaged([path]) == [path]
    path.write_bytes(whole)
    assert checks.damaged([path]) == []
