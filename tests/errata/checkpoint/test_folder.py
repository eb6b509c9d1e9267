"""A checkpoint that cannot be loaded, or must not be, is refused before anything of it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errata.errors import ModelError
from errata.model import EditableModel


def change_config(checkpoint: Path, **changes: Any) -> None:
    file = checkpoint / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_code_that_comes_with_a_model_is_not_run(checkpoint: Path) -> None:
    ran = checkpoint.parent / "ran"
    (checkpoint / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: ...\n")
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": "own.Tokenizer"}
    change_config(checkpoint, auto_map=auto_map)
    assert EditableModel.load(str(checkpoint)).num_layers > 1  # transformers has the class, and needs no such code
    change_config(checkpoint, model_type="own")
    with pytest.raises(ModelError, match="needs code of its own"):
        EditableModel.load(str(checkpoint))
    assert not ran.exists()


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "compressed-tensors", "fp8"])
def test_quantised_weights_are_refused_in_words_that_say_what_is_needed(checkpoint: Path, method: str) -> None:
    change_config(checkpoint, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(ModelError, match=rf"quantised \({method}\).*use the checkpoint that it was quantised from"):
        EditableModel.load(str(checkpoint))


def test_weights_that_are_cut_off_or_missing_are_named(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:4], b""):
        weights.write_bytes(part)
        with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cut off"):
            EditableModel.load(str(checkpoint))
    weights.write_bytes(whole)
    shards = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ModelError, match=r"lacks model-00002-of-00002\.safetensors"):
        EditableModel.load(str(checkpoint))


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff"])
def test_a_config_that_cannot_be_read_is_named(checkpoint: Path, content: str) -> None:
    (checkpoint / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelError, match=r"config\.json"):
        EditableModel.load(str(checkpoint))
