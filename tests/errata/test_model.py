"""Loading, identity and the swap by reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from errata.errors import ModelError, UnsupportedArchitecture
from errata.model import EditableModel


def test_the_digest_is_of_the_checkpoint_not_of_how_it_was_loaded(neox: EditableModel, neox_folder: Path) -> None:
    again = EditableModel.load(str(neox_folder), dtype=torch.bfloat16)
    assert again.digest == neox.digest
    again.network.save_pretrained(neox_folder.parent / "rounded")
    neox.tokenizer.save_pretrained(neox_folder.parent / "rounded")
    assert EditableModel.load(str(neox_folder.parent / "rounded")).digest != neox.digest


def test_a_swap_is_by_reference_and_ends_with_the_very_same_tensor(demo: EditableModel) -> None:
    base = demo.weight(1).data
    replacement = torch.zeros_like(base)
    with pytest.raises(RuntimeError, match="in between"), demo.using({1: replacement}):
        assert demo.weight(1).data_ptr() == replacement.data_ptr()
        raise RuntimeError("something failed in between")
    assert demo.weight(1).data_ptr() == base.data_ptr()


def test_blocks_run_in_parts_give_what_the_whole_model_gives(demo: EditableModel, neox: EditableModel) -> None:
    for model in (demo, neox):
        token_ids = torch.tensor([model.tokenizer("Michael Jordan plays the sport of")["input_ids"]])
        with torch.no_grad():
            lower = model.blocks(0, 2)(inputs_embeds=model.embed(token_ids)).last_hidden_state
            upper = model.blocks(2, model.num_layers)(inputs_embeds=lower).last_hidden_state
            torch.testing.assert_close(model.logits(upper), model.network(token_ids).logits)


def test_what_cannot_be_edited_is_refused_with_a_reason(tmp_path: Path, demo: EditableModel) -> None:
    with pytest.raises(ModelError, match="neither a local folder"):
        EditableModel.load("no/such model")
    with pytest.raises(ModelError, match=r"\.safetensors"):
        EditableModel.load(str(tmp_path))
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=1))
    gpt2.save_pretrained(tmp_path)
    demo.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedArchitecture, match="gpt2"):
        EditableModel.load(str(tmp_path))
