"""Checkpoints of each architecture on disk, random updates of them, and what a network makes of a prompt."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from errata.deltas import Delta, edited_weights
from errata.export.archive import ArchivedFile
from errata.model import EditableModel

HEAD_DIM = 32  # the smallest that vLLM has attention for
PROMPT = "Michael Jordan plays the sport of"
RANKS = {1: 3, 2: 2}  # layer: rank


def saved(model: EditableModel, folder: Path, *, dtype: torch.dtype = torch.float32, shard: str = "5GB") -> Path:
    """The model's checkpoint as transformers writes it."""
    network: Any = type(model.network)(model.network.config)
    network.load_state_dict(model.network.state_dict())
    network.to(dtype).save_pretrained(folder, max_shard_size=shard)
    model.tokenizer.save_pretrained(folder)
    return folder


def saved_for_vllm(small: EditableModel, folder: Path) -> EditableModel:
    """A random model of the same architecture as a small one, which vLLM can serve, in a folder."""
    wider = small.network.config.to_dict() | {"hidden_size": small.network.config.num_attention_heads * HEAD_DIM}
    if "head_dim" in wider:
        wider["head_dim"] = HEAD_DIM
    torch.manual_seed(0)
    network: Any = type(small.network)(AutoConfig.for_model(**wider))
    for parameter in network.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)  # else the model says almost the same of every token
    return EditableModel.load(str(saved(EditableModel(network, small.tokenizer, name="random"), folder)))


def updates(model: EditableModel, *, dense: bool = False) -> dict[int, Delta]:
    """Updates of two layers, of different ranks, each as large as a third of the matrix."""
    draw = torch.Generator().manual_seed(0)
    deltas = {}
    for layer, rank in RANKS.items():
        d_model, d_in = model.weight(layer).shape
        left, right = torch.randn(d_model, rank, generator=draw), torch.randn(rank, d_in, generator=draw)
        left *= model.weight(layer).float().norm() / (left @ right).norm() / 3
        deltas[layer] = Delta(left @ right, None, d_model) if dense else Delta(left, right, rank)
    return deltas


def written(files: list[ArchivedFile], folder: Path) -> Path:
    """The files in a folder, each of the size that was said."""
    for file in files:
        content = b"".join(file.pieces())
        assert len(content) == file.size
        (folder / file.name).write_bytes(content)
    return folder


def token_ids(model: EditableModel) -> Tensor:
    """The prompt's, (1, length)."""
    return torch.tensor([model.tokenizer(PROMPT)["input_ids"]])


@torch.inference_mode()
def edited_logits(model: EditableModel, deltas: dict[int, Delta]) -> Tensor:
    """Those of the prompt, (length, vocabulary), of the edited model; they differ from the base's."""
    base = model.network(token_ids(model)).logits[0]
    with model.using(edited_weights(model, deltas)):
        edited: Tensor = model.network(token_ids(model)).logits[0]
    assert float((edited - base).abs().max()) > 0.1
    return edited
