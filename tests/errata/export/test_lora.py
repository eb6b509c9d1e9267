"""The adapter, in the hands of PEFT."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from errata.deltas import Delta, edited_weights
from errata.errors import CorruptArtifact
from errata.export import lora
from errata.model import EditableModel
from tests.conftest import ALL_MODELS
from tests.errata.export.models import edited_logits, token_ids, updates, written

# PEFT asks transformers under a name that transformers will give up.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def with_adapter(model: EditableModel, folder: Path) -> Any:
    return PeftModel.from_pretrained(copy.deepcopy(model.network), folder)


@pytest.mark.parametrize("dense", [False, True], ids=["factors", "dense"])
@pytest.mark.parametrize("architecture", ALL_MODELS)
def test_peft_computes_with_it_what_the_edited_model_computes(
    of_each_architecture: dict[str, EditableModel], architecture: str, dense: bool, tmp_path: Path
) -> None:
    model = of_each_architecture[architecture]
    deltas = updates(model, dense=dense)
    adapted = with_adapter(model, written(lora.adapter(model, deltas), tmp_path))
    with torch.inference_mode():
        torch.testing.assert_close(adapted(token_ids(model)).logits[0], edited_logits(model, deltas), rtol=0, atol=1e-4)
    merged = adapted.merge_and_unload()
    for layer, edited in edited_weights(model, deltas).items():
        stored = merged.get_submodule(model.architecture.down_projection_of(layer)).weight
        torch.testing.assert_close(stored.T if model.architecture.transposed else stored, edited)


def test_the_base_is_named_as_the_hub_does_or_by_its_folder(demo: EditableModel, tmp_path: Path) -> None:
    def named(folder: Path | None) -> str:
        model = copy.copy(demo)
        model.folder = folder
        config = json.loads((written(lora.adapter(model, {}), tmp_path) / "adapter_config.json").read_text())
        return str(config["base_model_name_or_path"])

    assert named(demo.folder) == str(demo.folder)
    assert named(tmp_path / "hub/models--EleutherAI--gpt-neo-1.3B/snapshots/0123abcd") == "EleutherAI/gpt-neo-1.3B"
    assert named(tmp_path / "models--gpt2/snapshots/0123abcd") == "gpt2"


def test_factors_are_in_it_as_they_are_and_in_no_other_layer(demo: EditableModel, tmp_path: Path) -> None:
    deltas = updates(demo)
    adapted = with_adapter(demo, written(lora.adapter(demo, deltas), tmp_path)).state_dict()
    factors = {name: tensor for name, tensor in adapted.items() if "lora_" in name}
    assert len(factors) == 2 * len(deltas)
    for layer, delta in deltas.items():
        assert delta.right is not None
        prefix = f"base_model.model.transformer.h.{layer}.mlp.fc_out.lora_"
        assert torch.equal(factors[f"{prefix}A.default.weight"][: delta.rank], delta.right)
        assert torch.equal(factors[f"{prefix}B.default.weight"][:, : delta.rank], delta.left)


def test_an_update_of_no_layer_becomes_an_adapter_that_changes_nothing(demo: EditableModel, tmp_path: Path) -> None:
    adapted = with_adapter(demo, written(lora.adapter(demo, {}), tmp_path))
    with torch.inference_mode():
        assert torch.equal(adapted(token_ids(demo)).logits, demo.network(token_ids(demo)).logits)


def test_an_update_of_another_model_is_refused(demo: EditableModel) -> None:
    with pytest.raises(CorruptArtifact, match="layer 1"):
        lora.adapter(demo, {1: Delta(torch.zeros(4, 1), torch.zeros(1, 8), 1)})
