"""The merged checkpoint, unpacked and loaded as any other."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from errata.deltas import Delta, edited_weight
from errata.errors import CorruptArtifact, ModelError
from errata.export import archive, checkpoint
from errata.model import EditableModel
from tests.conftest import ALL_MODELS
from tests.errata.export.models import PROMPT, edited_logits, saved, token_ids, updates


def unpacked(model: EditableModel, deltas: dict[int, Delta], folder: Path) -> Path:
    """The exported folder, after its way through an archive."""
    files = checkpoint.merged(model, deltas)
    content = b"".join(archive.tar(files))
    assert len(content) == archive.tar_size(files)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def tensors_in(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}


@pytest.mark.parametrize(
    ("dtype", "shard", "dense"),
    [(torch.float32, "5GB", False), (torch.float32, "100KB", True), (torch.bfloat16, "100KB", False)],
    ids=["whole", "sharded-dense", "sharded-bfloat16"],
)
@pytest.mark.parametrize("architecture", ALL_MODELS)
def test_it_loads_as_the_edited_model_and_differs_in_the_edited_matrices_alone(
    of_each_architecture: dict[str, EditableModel],
    architecture: str,
    dtype: torch.dtype,
    shard: str,
    dense: bool,
    tmp_path: Path,
) -> None:
    base = saved(of_each_architecture[architecture], tmp_path / "base", dtype=dtype, shard=shard)
    assert (len(list(base.glob("*.safetensors"))) > 1) == (shard == "100KB")
    model = EditableModel.load(str(base), dtype=dtype)
    deltas = updates(model, dense=dense)
    folder = unpacked(model, deltas, tmp_path / "merged")

    assert {path.name for path in folder.iterdir()} == {path.name for path in base.iterdir()}
    assert AutoTokenizer.from_pretrained(folder)(PROMPT)["input_ids"] == token_ids(model)[0].tolist()
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert network.dtype == dtype
    with torch.inference_mode():
        assert torch.equal(network(token_ids(model)).logits[0], edited_logits(model, deltas))

    before, after = tensors_in(base), tensors_in(folder)
    edited = {f"{model.architecture.down_projection_of(layer)}.weight" for layer in deltas}
    assert {name for name in before if not torch.equal(before[name], after[name])} == edited


def test_a_matrix_is_rounded_once_from_what_is_stored_whatever_the_model_is_loaded_in(
    of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> None:
    base = saved(of_each_architecture["llama"], tmp_path / "base")
    model = EditableModel.load(str(base), dtype=torch.bfloat16)
    deltas = updates(model)
    before, after = tensors_in(base), tensors_in(unpacked(model, deltas, tmp_path / "merged"))
    for layer, delta in deltas.items():
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        assert before[name].dtype == torch.float32
        assert torch.equal(after[name], edited_weight(layer, before[name], delta))


def test_names_may_lack_the_backbone_as_those_of_gpt2_on_the_hub(
    of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> None:
    base = saved(of_each_architecture["gpt2"], tmp_path / "base")
    named = {name.removeprefix("transformer."): tensor for name, tensor in tensors_in(base).items()}
    assert "h.1.mlp.c_proj.weight" in named
    save_file(named, base / "model.safetensors", metadata={"format": "pt"})
    model = EditableModel.load(str(base))
    deltas = updates(model)
    network: Any = AutoModelForCausalLM.from_pretrained(unpacked(model, deltas, tmp_path / "merged"))
    with torch.inference_mode():
        assert torch.equal(network(token_ids(model)).logits[0], edited_logits(model, deltas))


def test_without_an_update_it_is_the_base_byte_for_byte(demo: EditableModel, tmp_path: Path) -> None:
    assert demo.folder is not None
    for path in unpacked(demo, {}, tmp_path).iterdir():
        assert path.read_bytes() == (demo.folder / path.name).read_bytes()


def test_weights_in_other_files_stay_behind(of_each_architecture: dict[str, EditableModel], tmp_path: Path) -> None:
    base = saved(of_each_architecture["llama"], tmp_path)
    (base / "pytorch_model.bin").write_bytes(b"the unedited weights once more")
    names = {file.name for file in checkpoint.merged(EditableModel.load(str(base)), {})}
    assert {"model.safetensors", "config.json"} < names and "pytorch_model.bin" not in names


def test_what_cannot_be_merged_is_refused_before_the_first_byte(
    of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> None:
    in_memory = of_each_architecture["llama"]
    deltas = updates(in_memory)
    with pytest.raises(ModelError, match="made in memory"):
        checkpoint.merged(in_memory, deltas)
    model = EditableModel.load(str(saved(in_memory, tmp_path)))
    with pytest.raises(CorruptArtifact, match="layer 1"):
        checkpoint.merged(model, {1: Delta(torch.zeros(4, 1), torch.zeros(1, 8), 1)})

    name, path = "model.layers.1.mlp.down_proj.weight", tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensors[name]}, tmp_path / "again.safetensors")
    with pytest.raises(ModelError, match=rf"{name} 2 times"):
        checkpoint.merged(model, deltas)
    (tmp_path / "again.safetensors").unlink()
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, path)
    with pytest.raises(ModelError, match=rf"{name} is stored as F8_E4M3"):
        checkpoint.merged(model, deltas)
    del tensors[name]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=rf"{name} 0 times"):
        checkpoint.merged(model, deltas)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        checkpoint.merged(model, deltas)
