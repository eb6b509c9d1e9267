"""Exported versions in vLLM, which has an environment of its own: it is too large, and too particular, for this one."""

import json
import subprocess
from pathlib import Path

import pytest
from torch import Tensor

from errata.export import checkpoint, lora
from errata.model import EditableModel
from tests.errata.export.models import RANKS, edited_logits, saved, saved_for_vllm, token_ids, updates, written
from tests.vllm_environment import PYTHON, VARIABLES, needs_vllm

pytestmark = needs_vllm


@pytest.fixture(params=["llama", "qwen2", "gpt_neox"])
def model(
    request: pytest.FixtureRequest, of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> EditableModel:
    """A random model of an architecture that vLLM serves with LoRA, in a folder."""
    return saved_for_vllm(of_each_architecture[request.param], tmp_path / "base")


def log_probabilities(model: EditableModel, folder: Path, adapter: Path | None = None) -> list[dict[int, float]]:
    """vLLM's, of the 20 likeliest tokens at each place behind the first."""
    result = folder.parent / "result.json"
    prompt = json.dumps(token_ids(model)[0].tolist())
    script = Path(__file__).parent / "with_vllm.py"
    command = [PYTHON, script, folder, adapter or "-", max(RANKS.values()), prompt, result]
    run = subprocess.run([str(part) for part in command], env=VARIABLES, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    return [{int(token): value for token, value in place.items()} for place in json.loads(result.read_text())]


def largest_difference(theirs: list[dict[int, float]], logits: Tensor) -> float:
    ours = logits.log_softmax(dim=1)
    assert len(theirs) == len(ours)
    return max(abs(value - float(ours[at, token])) for at, place in enumerate(theirs) for token, value in place.items())


def test_vllm_computes_with_the_adapter_what_the_edited_model_computes(model: EditableModel, tmp_path: Path) -> None:
    deltas = updates(model)
    (tmp_path / "adapter").mkdir()
    adapter = written(lora.adapter(model, deltas), tmp_path / "adapter")
    assert model.folder is not None
    theirs = log_probabilities(model, model.folder, adapter)
    assert largest_difference(theirs, edited_logits(model, deltas)) < 1e-3


def test_vllm_serves_the_merged_checkpoint_of_an_architecture_without_lora_there(
    demo: EditableModel, tmp_path: Path
) -> None:
    model = EditableModel.load(str(saved(demo, tmp_path / "base")))  # in float32, not rounded to the demo's float16
    deltas = updates(model)
    (tmp_path / "merged").mkdir()
    theirs = log_probabilities(model, written(checkpoint.merged(model, deltas), tmp_path / "merged"))
    assert largest_difference(theirs, edited_logits(model, deltas)) < 1e-3
