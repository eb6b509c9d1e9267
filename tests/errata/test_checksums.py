"""Files that say themselves what their bytes must be."""

import json

import pytest

from errata.files.checksums import Damaged, checked, has_checksum, with_checksum

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
