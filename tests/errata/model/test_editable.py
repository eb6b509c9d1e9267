"""Loading, identity and the swap by reference."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    GptOssConfig,
    MixtralConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

from errata.checkpoint.architectures import architecture_of
from errata.errors import ModelError, UnsupportedArchitecture
from errata.model import EditableModel, matrix_shapes_of


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


def test_a_matrix_that_is_put_in_is_computed_with_whichever_way_it_is_stored(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    draw = torch.Generator().manual_seed(0)
    for model in of_each_architecture.values():
        d_model, d_in = model.weight(1).shape
        replacement, keys = torch.randn(d_model, d_in, generator=draw), torch.randn(3, d_in, generator=draw)
        assert model.embed(torch.tensor(0)).shape == (d_model,)
        before = model.down_projection(1)(keys)
        with model.using({1: replacement}):
            assert torch.equal(model.weight(1), replacement)
            change = model.down_projection(1)(keys) - before
        torch.testing.assert_close(change, keys @ (replacement - model.weight(1)).T, rtol=1e-4, atol=1e-4)


def test_a_model_is_known_by_values_of_its_matrices_from_corner_to_corner(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    for model in of_each_architecture.values():
        values = model.matrix_values
        assert all(value == model.weight(layer)[row, column] for layer, row, column, value in values)
        first, last = model.weight(0), model.weight(model.num_layers - 1)
        assert values[0][3] == first[0, 0] and values[-1][3] == last[-1, -1]


def test_the_shapes_of_the_matrices_are_known_from_the_config_alone(
    of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> None:
    for name, model in of_each_architecture.items():
        assert model.matrix_shapes == tuple(tuple(model.weight(layer).shape) for layer in range(model.num_layers))
        (tmp_path / name).mkdir()
        model.network.config.save_pretrained(tmp_path / name)
        assert matrix_shapes_of(str(tmp_path / name)) == model.matrix_shapes
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"the config of .* cannot be read"):
        matrix_shapes_of(str(tmp_path))


def test_blocks_run_in_parts_give_what_the_whole_model_gives(of_each_architecture: dict[str, EditableModel]) -> None:
    for model in of_each_architecture.values():
        token_ids = torch.tensor([model.tokenizer("Michael Jordan plays the sport of")["input_ids"]])
        with torch.no_grad():
            hidden = model.embed(token_ids)
            for first, stop in ((0, 1), (1, 3), (3, model.num_layers)):
                hidden = model.run(first, stop, hidden)
            torch.testing.assert_close(model.logits(hidden), model.network(token_ids).logits)


def test_what_cannot_be_edited_is_refused_with_a_reason(tmp_path: Path, demo: EditableModel) -> None:
    with pytest.raises(ModelError, match="neither a local folder"):
        EditableModel.load("no/such model")
    demo.network.config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\.safetensors"):
        EditableModel.load(str(tmp_path))
    demo.tokenizer.save_pretrained(tmp_path)
    small: dict[str, Any] = {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    BloomForCausalLM(BloomConfig(vocab_size=10, hidden_size=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedArchitecture, match=r"'bloom' cannot be edited; there are: falcon, gemma, .* qwen3"):
        EditableModel.load(str(tmp_path))
    layers = ["sliding_attention", "linear_attention"]
    Qwen2Config(**small, num_key_value_heads=1, layer_types=layers).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedArchitecture, match="with linear_attention: every block must attend"):
        EditableModel.load(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MixtralConfig(), "'mixtral' .*: a mixture of experts has no single down-projection"),
        (Qwen2MoeConfig(), "a mixture of experts"),
        (Qwen3MoeConfig(), "a mixture of experts"),
        (GptOssConfig(), "a mixture of experts"),
        (DeepseekV3Config(), "a mixture of experts"),
        (Gemma3Config(), "'gemma3' .*: they read more than text; save the language model alone, of type 'gemma3_text'"),
        (OPTConfig(do_layer_norm_before=False), "'opt' .* with norms after the sums"),
        (OPTConfig(word_embed_proj_dim=8), "'opt' .* embeddings are projected"),
        (FalconConfig(alibi=True), "'falcon' .* with ALiBi"),
        (Gemma2Config(use_bidirectional_attention=True), "'gemma2' .* attend to later ones"),
    ],
)
def test_a_form_that_cannot_be_edited_is_refused_in_words_that_say_why(config: PreTrainedConfig, reason: str) -> None:
    with pytest.raises(UnsupportedArchitecture, match=reason):
        architecture_of(config.to_dict())


def test_a_model_whose_rotary_embedding_changes_with_the_length_ends_before_that(
    of_each_architecture: dict[str, EditableModel],
) -> None:
    model = of_each_architecture["phi3-longrope"]
    assert (model.network.config.max_position_embeddings, model.max_length) == (1024, 256)
