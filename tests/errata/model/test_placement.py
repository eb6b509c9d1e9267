"""Where the parts of a model go: planned from sizes and memory, whatever devices there are."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from errata.checkpoint.architectures import ARCHITECTURES
from errata.errors import ModelError
from errata.model import EditableModel
from errata.model.placement import Placement, shared_out, shares_of

LLAMA_70B: dict[str, Any] = {
    "hidden_size": 8_192,
    "intermediate_size": 28_672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}


def test_each_device_gets_its_share_in_blocks_that_follow_one_another() -> None:
    assert shared_out([10] * 6, 0, [1, 1, 1]) == [0, 0, 1, 1, 2, 2]
    assert shared_out([10] * 6, 30, [1, 1]) == [0, 1, 1, 1, 1, 1]  # the first also holds embeddings and head
    assert shared_out([10] * 4, 0, [3, 1]) == [0, 0, 0, 1]
    assert shared_out([10, 10, 40, 10, 10], 0, [1, 1]) == [0, 0, 1, 1, 1]
    assert shared_out([10] * 4, 100, [1, 1]) == [1, 1, 1, 1]  # which may leave no room for blocks there


def test_a_model_of_70_billion_parameters_over_eight_devices() -> None:
    with torch.device("meta"):
        config = AutoConfig.for_model("llama", **LLAMA_70B)
        network: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    placement = Placement.of(network, ARCHITECTURES["llama"], ",".join(f"cuda:{index}=1" for index in range(8)))
    counts = [placement.blocks.count(torch.device("cuda", index)) for index in range(8)]
    assert placement.own == torch.device("cuda", 0)
    assert counts[0] == 8 and set(counts[1:]) == {10, 11} and sum(counts) == 80
    assert str(placement).startswith("cuda:0 (blocks 0 to 7), cuda:1 (blocks 8 to 17), ")


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ("gpu", "'gpu' is no device"),
        ("cpu=1,cuda:0=much", "'cuda:0=much' is no device"),
        ("cuda=1,cuda:0=1", "comes twice"),
        ("cuda:0=1,cuda:1", "some devices of .* have a share"),
        ("cuda:0=1,cuda:1=0", "must be a positive number"),
    ],
)
def test_devices_that_cannot_be_read(devices: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        shares_of(devices)


def test_the_free_memory_of_a_cpu_is_not_guessed(demo: EditableModel) -> None:
    with pytest.raises(ModelError, match="how much of a model goes to cpu"):
        Placement.of(demo.network, demo.architecture, "cpu,meta")
