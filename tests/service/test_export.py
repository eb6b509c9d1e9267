"""Exports of a version over HTTP: what each holds, and that it computes what is served."""

import io
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from errata_registry.registry import Registry
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from errata.deltas import edited_weights
from errata.model import EditableModel

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PROMPT = "The capital of France is"


def exported(client: httpx.Client, version: int, format: str, folder: Path) -> Path:
    """The unpacked export."""
    answer = client.get(f"/versions/{version}/export", params={"format": format})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == f'attachment; filename="errata-{version}-{format}.tar"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@torch.no_grad()
def logits(network: Any, model: EditableModel) -> Tensor:
    return network(model.tokenizer(PROMPT, return_tensors="pt").input_ids).logits  # type: ignore[no-any-return]


def test_an_adapter_computes_what_is_served(
    client: httpx.Client, model: EditableModel, registry: Registry, version: int, tmp_path: Path
) -> None:
    folder = exported(client, version, "lora", tmp_path)
    assert model.folder is not None
    base = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, folder)
    with model.using(edited_weights(model, registry.versions.load_deltas(version, model.digest))):
        served = logits(model.network, model)
    assert (logits(adapted, model) - served).abs().max() < 1e-3


def test_a_checkpoint_computes_what_is_served_but_for_its_number_type(
    client: httpx.Client, model: EditableModel, registry: Registry, version: int, tmp_path: Path
) -> None:
    """The demo model's checkpoint is stored in float16, and so are the edited matrices."""
    folder = exported(client, version, "merged", tmp_path)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert AutoTokenizer.from_pretrained(folder)(PROMPT).input_ids == model.tokenizer(PROMPT).input_ids
    weights = edited_weights(model, registry.versions.load_deltas(version, model.digest))
    with model.using({layer: weight.half().float() for layer, weight in weights.items()}):
        served = logits(model.network, model)
    assert (logits(network, model) - served).abs().max() < 1e-3


def test_a_delta_holds_the_files_of_the_version(client: httpx.Client, version: int, tmp_path: Path) -> None:
    folder = exported(client, version, "delta", tmp_path)
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "facts.jsonl", "delta.safetensors"}


def test_what_cannot_be_exported(client: httpx.Client, version: int) -> None:
    assert client.get("/versions/0/export", params={"format": "delta"}).status_code == 409
    assert client.get("/versions/9999/export").status_code == 404
    assert client.get(f"/versions/{version}/export", params={"format": "pickle"}).status_code == 422
