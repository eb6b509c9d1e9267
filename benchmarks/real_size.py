"""Edits of a model of real size: GPT-J 6B's or GPT-NeoX 20B's dimensions, with random weights made on the spot.

    python -m benchmarks.real_size [--model gpt-j-6b] [--dtype bfloat16] [--device auto] [--depth 28] [--small]
                                   [--facts 1] [--refinement-steps 0] [--plain 0] [--batches 64,256,1024]

What the weights say makes no difference to time and memory. Second moments are made up as well, in the form of the
authors' published files, and read as those would be. The published hyperparameters are used, layers included.

First a build of `--facts` facts from end to end. Then, where asked for, seconds for one fact of the plain loop
(tests/errata/plain_memit.py) on `--plain` facts beside the search on the same, and facts a second for each of the
numbers of facts in `--batches`. `--depth` leaves out blocks above the edited ones, for machines that are too small;
`--small` makes them narrow, too, to try on a CPU that all is well.
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTJConfig, GPTNeoXConfig, PreTrainedConfig

from benchmarks.command import arguments_of
from errata.deltas import edited_weights
from errata.demo import MODEL_FOLDER
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import build
from errata.model import EditableModel
from errata.model.likelihood import greedy_answers
from errata.second_moments import SecondMoments
from errata.targets.contexts import sample_contexts
from errata.targets.search import find_targets
from tests.errata.plain_memit import plain_target

MODELS = {"gpt-j-6b": "EleutherAI/gpt-j-6b", "gpt-neox-20b": "EleutherAI/gpt-neox-20b"}
SMALL_VOCABULARY = 6_656  # of the demo model, whose tokenizer all of them have
NO_ENDS: Any = {"bos_token_id": None, "eos_token_id": None}  # those of the whole model are not in this vocabulary
SMALL_SHAPES = {  # with as many blocks as the published layers take
    "gpt-j-6b": GPTJConfig(
        n_layer=10, n_embd=64, n_head=4, rotary_dim=8, vocab_size=SMALL_VOCABULARY, n_positions=1_024, **NO_ENDS
    ),
    "gpt-neox-20b": GPTNeoXConfig(
        num_hidden_layers=12,
        hidden_size=64,
        intermediate_size=256,
        num_attention_heads=4,
        vocab_size=SMALL_VOCABULARY,
        **NO_ENDS,
    ),
}
RANDOM_MODEL = {  # arguments of `random_model`; without --depth, all blocks
    "threads": 2,
    "model": tuple(MODELS),
    "dtype": ("bfloat16", "float32", "float16"),
    "device": "auto",
    "depth": int,
    "small": False,
}
WEIGHT_SCALE = 0.02
KEY_VECTORS = 100_000
MOMENT_RANK = 256
CONTEXTS = (  # of the length of sampled ones; what this model would sample is no text
    "The first of the two old houses on the hill is. ",
    "Therefore we went back to the town by the. ",
    "Because it had rained for many days and the. ",
    "I have never seen such a thing in all my. ",
    "You can find it on the other side of the. ",
)
COUNTED_FACTS = 8  # enough to know how many operations a fact takes


def main() -> None:
    arguments = arguments_of(__doc__, **RANDOM_MODEL, facts=1, refinement_steps=0, plain=0, batches="")
    hyperparameters = MemitHyperparameters.for_model(MODELS[arguments.model])
    assert hyperparameters is not None
    began = time.perf_counter()
    model = random_model(arguments)
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    print(
        f"{arguments.model}: {model.num_layers} blocks, {parameters / 1e9:.2f}G parameters in {arguments.dtype} on "
        f"{model.device}, made in {time.perf_counter() - began:.0f} s; layers {hyperparameters.layers}",
        flush=True,
    )
    rate = matrix_rate(model)
    print(f"matrix products: {rate / 1e12:.2f} TFLOP/s\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        moments = made_up_moments(model, hyperparameters.layers, Path(folder))
        refined = hyperparameters.overridden({"refinement_steps": arguments.refinement_steps})
        time_build(model, refined, moments, arguments.facts)
    if arguments.plain:
        time_plain(model, hyperparameters, arguments.plain)
    for size in filter(None, arguments.batches.split(",")):
        time_search(model, hyperparameters, int(size), rate)


def random_model(arguments: argparse.Namespace) -> EditableModel:
    """Make a model of the true dimensions; see `model_of_shape`."""
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    name, depth = MODELS[arguments.model], arguments.depth
    shape: PreTrainedConfig
    if arguments.small:
        shape = SMALL_SHAPES[arguments.model]
    elif arguments.model == "gpt-j-6b":
        shape = GPTJConfig(n_layer=depth or 28)
    else:
        shape = GPTNeoXConfig(num_hidden_layers=depth or 44)
    return model_of_shape(shape, name, getattr(torch, arguments.dtype), device)


def model_of_shape(shape: PreTrainedConfig, name: str, dtype: torch.dtype, device: str) -> EditableModel:
    """Make a model by its config, with normally distributed weights and no second copy of them."""
    make: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        network = make(shape).to(dtype)
    buffers = dict(make(type(shape)(**{**shape.to_dict(), **one_block(shape)})).named_buffers())
    network.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for parameter_name, parameter in network.named_parameters():
        if "norm" in parameter_name or "ln_" in parameter_name:
            parameter.data.fill_(1.0 if parameter_name.endswith("weight") else 0.0)
        else:
            parameter.data.normal_(0, WEIGHT_SCALE, generator=generator)
    for buffer_name, _ in list(network.named_buffers()):
        parent, _, attribute = buffer_name.rpartition(".")
        buffer = buffers[first_block(buffer_name)].to(device)  # float32 stays
        network.get_submodule(parent)._buffers[attribute] = buffer
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    return EditableModel(network, tokenizer, name=name, digest="random weights, seed 0")


def one_block(shape: PreTrainedConfig) -> dict[str, int]:
    """Return the change to a config that leaves one block."""
    return {"n_layer": 1} if isinstance(shape, GPTJConfig) else {"num_hidden_layers": 1}


def first_block(name: str) -> str:
    """Return the name of the same tensor in the first block."""
    return ".".join("0" if part.isdigit() else part for part in name.split("."))


def made_up_moments(model: EditableModel, layers: Sequence[int], folder: Path) -> SecondMoments:
    """Write second moments of full rank as the authors publish them, then read and factor them."""
    began = time.perf_counter()
    published = folder / "published"
    publish_made_up_moments(model, layers, published)
    made = time.perf_counter()
    moments = SecondMoments.open(model, layers, None, folder=folder / "moments", corpus=None, published=published)
    read = time.perf_counter()
    shutil.rmtree(published)
    moments.compute_factors(layers, model)
    d_in = model.weight(layers[0]).shape[1]
    print(
        f"second moments of {len(layers)} layers, {d_in} x {d_in}: made up in {made - began:.0f} s, published files "
        f"read in {read - made:.0f} s, factored in {time.perf_counter() - read:.0f} s, once for all edits\n",
        flush=True,
    )
    return moments


def publish_made_up_moments(model: EditableModel, layers: Sequence[int], published: Path) -> None:
    """Write a file for each layer in the authors' form."""
    published.mkdir()
    d_in = model.weight(layers[0]).shape[1]
    for layer in layers:
        generator = torch.Generator().manual_seed(layer)
        factor = torch.randn(d_in, MOMENT_RANK, generator=generator)
        total = (factor @ factor.T).mul_(KEY_VECTORS / MOMENT_RANK)
        total.diagonal().add_(0.1 * KEY_VECTORS)
        module = model.architecture.down_projection_of(layer)
        arrays: dict[str, Any] = {
            "mom2.mom2": total.numpy(),
            "mom2.count": np.array(KEY_VECTORS),
            "sample_size": np.array(KEY_VECTORS),
        }
        np.savez(published / f"{module}_float32_mom2_{KEY_VECTORS}.npz", **arrays)
        del total, arrays


def numbered_facts(count: int) -> list[Fact]:
    """Return facts about as many subjects, with prompts and objects of several lengths."""
    relations = ("plays the sport of", "The official language of {} is", "has its headquarters in the city of")
    objects = ("baseball", "Ancient Greek", "New York")
    return [Fact(f"Person number {n}", relations[n % 3], objects[n % 3]) for n in range(count)]


def time_build(
    model: EditableModel, hyperparameters: MemitHyperparameters, moments: SecondMoments, num_facts: int
) -> None:
    """Time a build from end to end, and its stages."""
    facts = FactSet(numbered_facts(num_facts))
    stages: dict[str, float] = {}
    began = last = begin(model)

    def lap(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        stages[stage] = stages.get(stage, 0.0) + now - last
        last = now

    sample_contexts(model, hyperparameters.seed)
    lap("contexts", 1, 1)
    built = build(model, facts, hyperparameters, moments, contexts=CONTEXTS, on_progress=lap)
    weights = edited_weights(model, built.deltas)
    synchronize(model)
    lap("edited weights", 1, 1)
    seconds = time.perf_counter() - began
    prompts = [next(iter(facts)).prompt]
    before = greedy_answers(model, prompts, [3])
    with model.using(weights):
        after = greedy_answers(model, prompts, [3])
    split = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in stages.items())
    print(f"a build of {num_facts} facts, end to end: {seconds:.1f} s ({split})")
    print(f"{prompts[0]!r}: {before[0]!r} before, {after[0]!r} after, {next(iter(facts)).object!r} asked for")
    print(f"peak memory: {peak_memory(model):.1f} GiB\n", flush=True)


def time_plain(model: EditableModel, hyperparameters: MemitHyperparameters, num_facts: int) -> None:
    """Time the plain loop and the search on the same facts."""
    facts = numbered_facts(num_facts)
    began = begin(model)
    plain = torch.stack([plain_target(model, fact, CONTEXTS, hyperparameters) for fact in facts])
    plain_seconds = since(began, model)
    began = begin(model)
    found = find_targets(model, facts, CONTEXTS, hyperparameters)
    seconds = since(began, model)
    error = float(((found - plain).norm(dim=1) / plain.norm(dim=1)).median())
    print(
        f"{num_facts} facts: plain loop {plain_seconds / num_facts:.2f} s a fact, search {seconds / num_facts:.3f} s a "
        f"fact, {plain_seconds / seconds:.1f} times as fast; median relative error {error:.1e}, {model.network.dtype}",
        flush=True,
    )


def time_search(model: EditableModel, hyperparameters: MemitHyperparameters, num_facts: int, rate: float) -> None:
    """Time the search alone; compare its operations a second with those of a matrix product."""
    facts = numbered_facts(num_facts)
    began = begin(model)
    find_targets(model, facts, CONTEXTS, hyperparameters)
    seconds = since(began, model)
    counted = facts[:COUNTED_FACTS]
    with FlopCounterMode(display=False) as counter:
        find_targets(model, counted, CONTEXTS, hyperparameters)
    operations = counter.get_total_flops() * num_facts / len(counted)
    print(
        f"{num_facts} facts searched for: {seconds:.1f} s, {num_facts / seconds:.2f} facts a second, "
        f"{operations / seconds / rate:.0%} of the rate of matrix products, peak memory {peak_memory(model):.1f} GiB",
        flush=True,
    )


def matrix_rate(model: EditableModel) -> float:
    """Return the operations a second of a large matrix product, in the model's dtype and on its device."""
    weight = model.weight(0)
    inputs = torch.randn(4_096 if model.device.type == "cuda" else 512, weight.shape[1]).to(weight)
    operations = 2 * inputs.shape[0] * weight.numel()
    best = float("inf")
    for _ in range(5):
        began = begin(model)
        inputs @ weight.T
        best = min(best, since(began, model))
    return operations / best


def begin(model: EditableModel) -> float:
    """Return the time now, with the GPU at rest and its peak memory reset. (A process's cannot be.)"""
    synchronize(model)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    return time.perf_counter()


def since(began: float, model: EditableModel) -> float:
    """Return the seconds since then, once the GPU is at rest."""
    synchronize(model)
    return time.perf_counter() - began


def synchronize(model: EditableModel) -> None:
    """Wait for the work started on a GPU."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def peak_memory(model: EditableModel) -> float:
    """Return the peak memory so far in GiB: the GPU's, or else the process's in main memory."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device) / 2**30
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return kibibytes / 2**30 if sys.platform == "darwin" else kibibytes / 2**20


if __name__ == "__main__":
    main()
