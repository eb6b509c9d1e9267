"""A model over several devices: its parts are where they were planned, and it gives what it gives on one.

The devices are pretended ones (`tests.pretended_devices`), which no machine lacks; `benchmarks.devices` has real ones.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from errata_service.engine.kv_cache import KVCache
from errata_service.engine.model_runner import ModelRunner

from errata.demo import DEMO
from errata.facts import Fact, FactSet
from errata.hyperparameters import RECORDS, MemitHyperparameters
from errata.methods import METHODS
from errata.model import EditableModel
from errata.model.decoding import greedy_ids
from errata.model.placement import Placement, place
from errata.second_moments.collection import Collection
from errata.targets.store import BuildStore
from errata.tracing.noise import Noise
from errata.tracing.prompt_trace import trace_prompt
from errata.tracing.prompts import TracedPrompt
from tests.conftest import ALL_MODELS
from tests.errata.test_fidelity import moments_of_noise
from tests.pretended_devices import FIRST, SECOND, THIRD, PretendedDevices, device_of

FACTS = FactSet([Fact("Sony", "has its headquarters in", "New York"), Fact("Claude Monet", "On {} one finds", "Rome")])
LITTLE = {"num_steps": 2, "num_epochs": 2, "null_threshold": 1e6}  # as far as a method has them
CONTEXTS = ("The sea is wide. ",)
LAYERS = (0, 1)  # on the first and on the second device; what is above them is on the third
SETTINGS = MemitHyperparameters(layers=LAYERS, moment_weight=1.0, num_steps=2, refinement_steps=1)


def placed(model: EditableModel, *first_blocks: torch.device) -> EditableModel:
    """Return a copy of a model whose blocks are on these devices, those that are left on the last of them."""
    network: Any = copy.deepcopy(model.network)
    blocks = (*first_blocks, *[first_blocks[-1]] * (model.num_layers - len(first_blocks)))
    place(network, model.architecture, Placement(FIRST, blocks))
    return EditableModel(network, model.tokenizer, name=model.name, digest=model.digest)


@pytest.mark.parametrize("name", ALL_MODELS)
def test_an_edit_and_what_is_said_are_those_of_one_device(
    name: str, of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> None:
    base = of_each_architecture[name]
    moments = moments_of_noise(base, LAYERS, tmp_path)
    found = []
    with PretendedDevices():
        for devices in [(FIRST,), (FIRST, SECOND, THIRD)]:
            model = placed(base, *devices)
            store = BuildStore(tmp_path / str(len(devices)))
            for _ in range(2 if name == "llama" else 1):  # the second finds targets and states in the store
                built = METHODS["memit"](model, FACTS, SETTINGS, moments, contexts=CONTEXTS, store=store)
            found.append((built.deltas, answers(model), decoded(model)))
    (one, *said_by_one), (several, *said_by_several) = found
    assert all(torch.equal(one[layer].dense(), several[layer].dense()) for layer in LAYERS)
    assert said_by_one == said_by_several


def answers(model: EditableModel) -> list[list[int]]:
    """Say some tokens after prompts of several lengths, as evaluations do."""
    return greedy_ids(model, [fact.prompt for fact in FACTS], [3, 6], lambda place, ids: place == 1 and len(ids) > 4)


def decoded(model: EditableModel) -> list[list[int]]:
    """Say some tokens after the same prompts, as the service does."""
    runner = ModelRunner(model)
    cache = KVCache(runner.token_shape)
    cache.resize((4, 64))
    assert [device_of(cache.block(layer)[0]) for layer in range(model.num_layers)] == list(model.placement.blocks)
    rows = [list(model.tokenizer(fact.prompt)["input_ids"]) for fact in FACTS]
    cached = [0, 0]
    for _ in range(4):
        new = [row[start:] for row, start in zip(rows, cached, strict=True)]
        hidden = runner.run({}, cache, [0, 2], new, cached)
        last = hidden[torch.arange(2), torch.tensor([len(ids) - 1 for ids in new])]
        cached = [len(row) for row in rows]
        for row, token_id in zip(rows, model.logits(last).argmax(-1).tolist(), strict=True):
            row.append(token_id)
    return rows


@pytest.mark.parametrize("method", [name for name in RECORDS if name != "memit"])
def test_every_method_builds_what_it_builds_on_one_device(method: str, demo: EditableModel, tmp_path: Path) -> None:
    shipped = RECORDS[method].for_model(DEMO)
    assert shipped is not None
    little = {name: value for name, value in LITTLE.items() if name in type(shipped).__dataclass_fields__}
    moments = moments_of_noise(demo, shipped.layers, tmp_path)
    found = []
    with PretendedDevices():
        for devices in [(FIRST,), (SECOND, THIRD)]:
            settings: Any = shipped.overridden(little)
            built = METHODS[method](placed(demo, *devices), FACTS, settings, moments, contexts=CONTEXTS)
            found.append({layer: delta.dense() for layer, delta in built.deltas.items()})
    one, several = found
    assert one.keys() == several.keys() and all(torch.equal(one[layer], several[layer]) for layer in one)


def test_second_moments_and_traces_are_those_of_one_device(
    of_each_architecture: dict[str, EditableModel], tmp_path: Path
) -> None:
    base = of_each_architecture["gemma2"]
    found = []
    with PretendedDevices():
        for devices in [(FIRST,), (FIRST, SECOND, THIRD)]:
            model = placed(base, *devices)
            collection = Collection(model, LAYERS, tmp_path / str(len(devices)))
            (tmp_path / str(len(devices))).mkdir()
            moments = dict(collection.run(["Sony is a company. " * 1000], 4_096, lambda done, total: None))
            assert [device_of(moment) for moment in moments.values()] == list(model.placement.blocks[:2])
            noise = Noise.for_subjects(model, ["Sony"], num_samples=2)
            traced = trace_prompt(model, TracedPrompt.of(model, "{} is a company of", "Sony"), noise)
            found.append(([moment.cpu() for moment in moments.values()], traced.as_dict()))
    (one, traced_on_one), (several, traced_on_several) = found
    assert all(map(torch.equal, one, several)) and traced_on_one == traced_on_several


def test_tensors_of_two_devices_do_not_meet() -> None:
    with PretendedDevices():
        here, there = torch.ones(2, device=FIRST), torch.ones(2, device=SECOND)
        for mixed in (lambda: here + there, lambda: here[there.long()], lambda: torch.cat([here, there]), here.numpy):
            with pytest.raises((RuntimeError, TypeError)):
                mixed()
        assert (here + there.to(FIRST) + torch.tensor(1.0))[torch.tensor([0])].device == FIRST
