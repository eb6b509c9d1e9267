"""Everything about one GPU that is measured at real size, in at most twelve minutes, what matters most first.

    python -m benchmarks.gpu [--out gpu-figures] [--minutes 12] [--parts neox,decode,…] [--small] [--device auto]

Each part is a process of its own, which is ended when its time is over. A figure is written as soon as it is there, as
a line of `figures.jsonl` and as one of `figures.txt`, so a run that is cut off keeps what it has. Weights are random,
second moments made up, in bfloat16. It takes torch, transformers, safetensors and numpy; the part `service` takes all
of Errata, and says so where that is not there. `--small` runs the same over models that a CPU can bear.

neox        GPT-NeoX 20B's dimensions, 1,000 facts end to end, and the peak memory
decode      GPT-J 6B's decode steps as graphs and without, 1, 4, 16 and 64 rows, and with the version changing each step
growth      GPT-J 6B: builds of 250, 1,000 and 2,000 facts, what 10,000 would take by that, refinement at 1,000
moments     second moments collected at Llama 3.1 8B's dimensions
service     the whole service on GPT-J 6B: tokens a second of 1, 4, 16 and 64 clients
"""

import importlib.util
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "service"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import torch  # noqa: E402 - only now is there where Errata is imported from
from errata_service.engine.kv_cache import KVCache  # noqa: E402
from errata_service.engine.model_runner import ModelRunner  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import GPTJConfig, GPTNeoXConfig, LlamaConfig, PreTrainedConfig  # noqa: E402

from benchmarks.command import arguments_of  # noqa: E402
from benchmarks.real_size import (  # noqa: E402
    CONTEXTS,
    MOMENT_RANK,
    SMALL_SHAPES,
    SMALL_VOCABULARY,
    begin,
    model_of_shape,
    numbered_facts,
    peak_memory,
    since,
    synchronize,
)
from errata.facts import FactSet  # noqa: E402
from errata.hyperparameters import MemitHyperparameters  # noqa: E402
from errata.hyperparameters.records import FIRST_REFINEMENT_STEPS  # noqa: E402
from errata.methods.memit import build  # noqa: E402
from errata.model import EditableModel  # noqa: E402
from errata.second_moments import SecondMoments  # noqa: E402
from errata.second_moments.collection import Collection  # noqa: E402
from errata.second_moments.local_text import local_texts  # noqa: E402
from errata.second_moments.moments import factor_in_place  # noqa: E402
from errata.targets.store import BuildStore  # noqa: E402

GPT_J, NEOX = "EleutherAI/gpt-j-6b", "EleutherAI/gpt-neox-20b"
LLAMA_LAYERS = (4, 5, 6, 7, 8)
SERVICE_NEEDS = ("fastapi", "pydantic_settings", "redis", "rq", "httpx", "uvicorn")
GRAPH_BYTES = 4 * 2**30
WARM_UP_STEPS, STEPS = 3, 30


class Run:
    """One part's run: what it is to measure on, and where its figures go."""

    def __init__(self, part: str, out: Path, device: str, small: bool) -> None:
        self.device, self.small = device, small
        self._part, self._out = part, out

    def note(self, what: str, **figures: Any) -> None:
        """Write figures down, at once."""
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
        with (self._out / "figures.jsonl").open("a") as lines:
            lines.write(json.dumps({"part": self._part, "what": what, **rounded}) + "\n")
        told = ", ".join(f"{name} {value}" for name, value in rounded.items())
        with (self._out / "figures.txt").open("a") as lines:
            lines.write(f"{self._part}: {what}: {told}\n")
        print(f"{self._part}: {what}: {told}", flush=True)

    def model(self, name: str, shape: PreTrainedConfig, small_shape: PreTrainedConfig) -> EditableModel:
        """Make the model of a part, or a small one of its kind."""
        began = time.perf_counter()
        chosen = small_shape if self.small else shape
        made = model_of_shape(chosen, name, torch.bfloat16, self.device)
        parameters = sum(parameter.numel() for parameter in made.network.parameters())
        self.note("model", name=name, parameters_G=parameters / 1e9, device=self.device, s=time.perf_counter() - began)
        return made

    def gpt_j(self) -> EditableModel:
        return self.model(GPT_J, GPTJConfig(), SMALL_SHAPES["gpt-j-6b"])

    def numbers(self, *of: int) -> list[int]:
        """Return these numbers of facts, or small ones."""
        return [max(4, number // 100) for number in of] if self.small else list(of)


class MadeUpMoments(SecondMoments):
    """Second moments of full rank, made and factored on the device, and kept in main memory."""

    def __init__(self, model: EditableModel) -> None:
        super().__init__(Path())
        self._model = model
        self._kept: dict[tuple[int, str], Tensor] = {}

    def moment(self, layer: int) -> Tensor:
        """Return C of one layer, (d_in, d_in), float32."""
        if (layer, "moment") not in self._kept:
            device, d_in = self._model.device, self._model.weight(layer).shape[1]
            generator = torch.Generator(device).manual_seed(layer)
            root = torch.randn(d_in, MOMENT_RANK, generator=generator, device=device)
            moment = (root @ root.T).div_(MOMENT_RANK)
            moment.diagonal().add_(0.1)
            self._kept[layer, "moment"] = moment.cpu()
        return self._kept[layer, "moment"]

    def factor(self, layer: int, device: torch.device | str = "cpu") -> Tensor | None:
        """Return the Cholesky factor of C, (d_in, d_in), float64."""
        if (layer, "factor") not in self._kept:
            factor = factor_in_place(self.moment(layer).to(self._model.device).double())
            assert factor is not None
            self._kept[layer, "factor"] = factor.T.cpu()
        return self._kept[layer, "factor"].to(device).T


def time_build(
    run: Run,
    model: EditableModel,
    hyperparameters: MemitHyperparameters,
    moments: SecondMoments,
    num_facts: int,
    store: BuildStore | None = None,
) -> dict[str, float]:
    """Note a build's seconds by stage, and its peak memory; return the seconds."""
    stages: dict[str, float] = {}
    began = last = begin(model)

    def lap(stage: str, done: int, total: int) -> None:
        nonlocal last
        synchronize(model)
        now = time.perf_counter()
        stages[stage] = stages.get(stage, 0.0) + now - last
        if stage == "targets" and now - noted[0] > 20:  # what is there if the time runs out before the end
            noted[0] = now
            run.note(f"targets of {num_facts} facts", done=done, s=now - began)
        last = now

    noted = [began]
    build(
        model,
        FactSet(numbered_facts(num_facts)),
        hyperparameters,
        moments,
        contexts=CONTEXTS,
        store=store,
        on_progress=lap,
    )
    seconds = {**stages, "total": since(began, model)}
    steps = hyperparameters.refinement_steps
    what = f"build of {num_facts} facts" + (f", {steps} steps of refinement" if steps else "")
    run.note(what, **{f"{stage}_s": spent for stage, spent in seconds.items()}, peak_GiB=peak_memory(model))
    return seconds


def published_hyperparameters(name: str) -> MemitHyperparameters:
    """Return those of the paper, layers included."""
    found = MemitHyperparameters.for_model(name)
    assert found is not None
    return found


def measure_neox(run: Run) -> None:
    """GPT-NeoX 20B's dimensions: does an edit of 1,000 facts fit, and how long does it take?"""
    model = run.model(NEOX, GPTNeoXConfig(), SMALL_SHAPES["gpt-neox-20b"])
    hyperparameters = published_hyperparameters(NEOX)
    moments = MadeUpMoments(model)
    began = begin(model)
    for layer in hyperparameters.layers:
        moments.factor(layer)
    run.note("second moments made up and factored", layers=len(hyperparameters.layers), s=since(began, model))
    for num_facts in run.numbers(100, 1_000):  # the small one first: it tells most of it if the other does not end
        time_build(run, model, hyperparameters, moments, num_facts)


def measure_growth(run: Run) -> None:
    """GPT-J 6B: builds of more and more facts; each takes the targets of the one before from a store."""
    model, hyperparameters = run.gpt_j(), published_hyperparameters(GPT_J)
    moments = MadeUpMoments(model)
    for layer in hyperparameters.layers:
        moments.factor(layer)
    sizes = run.numbers(250, 1_000, 2_000)
    with tempfile.TemporaryDirectory() as folder:
        store = BuildStore(Path(folder))
        seconds = [time_build(run, model, hyperparameters, moments, size, store) for size in sizes]
        refined = hyperparameters.overridden({"refinement_steps": FIRST_REFINEMENT_STEPS})
        time_build(run, model, refined, moments, sizes[1], store)
    each = [
        spent["targets"] / (size - before) for spent, size, before in zip(seconds, sizes, [0, *sizes], strict=False)
    ]
    spread = (seconds[-1]["spread"] - seconds[0]["spread"]) / (sizes[-1] - sizes[0])
    whole = 10_000 * (each[-1] + spread) + seconds[0]["spread"]
    run.note("seconds a fact", targets=each, spread=spread, of_10_000_facts_if_it_goes_on_so_s=whole)


def measure_moments(run: Run) -> None:
    """Llama 3.1 8B's dimensions: second moments of five layers, ten key vectors for each dimension of a key."""
    shape = LlamaConfig(
        hidden_size=4_096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128_256,
        max_position_embeddings=8_192,
    )
    small = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=10,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=SMALL_VOCABULARY,
        max_position_embeddings=512,
    )
    model = run.model("random Llama 3.1 8B", shape, small)
    num_vectors = 10 * model.weight(0).shape[1]
    began, last = begin(model), time.perf_counter()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.perf_counter() - last > 10:
            last = time.perf_counter()
            run.note("key vectors so far", seen=done, asked_for=total, s=since(began, model))

    with tempfile.TemporaryDirectory() as folder:
        collection = Collection(model, LLAMA_LAYERS, Path(folder))
        for origin, moment in collection.run(local_texts(), num_vectors, tell):
            del moment
            run.note(
                "second moment",
                layer=origin.layer,
                key_vectors=origin.count,
                s=since(began, model),
                peak_GiB=peak_memory(model),
            )


def measure_decode(run: Run) -> None:
    """GPT-J 6B: milliseconds of a decode step, as graphs and launched kernel by kernel."""
    model = run.gpt_j()
    layers = published_hyperparameters(GPT_J).layers
    versions = [{layer: model.weight(layer) * scale for layer in layers} for scale in (1.01, 1.02)]
    graphs = ModelRunner(model, graph_bytes=GRAPH_BYTES, max_rows=64)
    run.note("graphs", used=graphs.runs_graphs, memory_GiB=GRAPH_BYTES / 2**30)
    runners = {"kernel by kernel": ModelRunner(model)} | ({"graphs": graphs} if graphs.runs_graphs else {})
    for rows in (1, 16, 4, 64):
        said = {}
        for name, runner in runners.items():
            said[name], steps_ms = decode(runner, rows, [{}])
            step_ms = statistics.median(steps_ms)
            run.note(f"{name}, {rows} rows", step_ms=step_ms, tokens_per_s=1000 * rows / step_ms, first_ms=steps_ms[0])
        if len(said) == 2:
            pairs = list(zip(*said.values(), strict=True))
            run.note(f"same tokens, {rows} rows", share=sum(one == other for one, other in pairs) / len(pairs))
    for name, runner in runners.items():
        for kind, turn in (("an edited version", versions[:1]), ("the version changing each step", versions)):
            step_ms = statistics.median(decode(runner, 1, turn)[1])
            run.note(f"{name}, 1 row, {kind}", step_ms=step_ms)
    run.note("memory", peak_GiB=peak_memory(model))


@torch.inference_mode()
def decode(runner: ModelRunner, rows: int, versions: list[dict[int, Tensor]]) -> tuple[list[int], list[float]]:
    """Decode greedily after short prompts, one version after the other in turns.

    Returns:
        all tokens; milliseconds of the longest of the first steps, where graphs are captured, and of each later one.
    """
    model = runner.model
    prompts = [model.tokenizer(fact.prompt)["input_ids"] for fact in numbered_facts(rows)]
    cache = KVCache(runner.token_shape)
    cache.resize((1 << (rows - 1).bit_length(), 64))
    width = min(map(len, prompts))
    hidden = runner.run({}, cache, range(rows), [prompt[:width] for prompt in prompts], [0] * rows)[:, -1]
    said: list[int] = []
    steps_ms = []
    for step, weights in zip(range(WARM_UP_STEPS + STEPS), itertools.cycle(versions), strict=False):
        token_ids = model.logits(hidden).argmax(-1).tolist()
        said += token_ids
        synchronize(model)
        step_began = time.perf_counter()
        hidden = runner.decode(weights, cache, token_ids, [width + step] * rows)
        model.logits(hidden).argmax(-1).tolist()
        steps_ms.append(1000 * since(step_began, model))
    return said, [max(steps_ms[:WARM_UP_STEPS]), *steps_ms[WARM_UP_STEPS:]]


def measure_service(run: Run) -> None:
    """The whole service, over HTTP, by `benchmarks.whole_service`; graphs are on by default where there is a GPU."""
    if missing := [name for name in SERVICE_NEEDS if importlib.util.find_spec(name) is None]:
        run.note("not measured", this_python_lacks=missing)
        return
    command = [sys.executable, "-m", "benchmarks.whole_service", "--device", run.device, "--facts", "10"]
    command += ["--small", "--clients", "1,4", "--tokens", "8"] if run.small else []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            run.note("benchmarks.whole_service", said=line.rstrip())


# Each with the most seconds that it may take, in the order in which they matter.
PARTS: dict[str, tuple[Callable[[Run], None], int]] = {
    "neox": (measure_neox, 270),
    "decode": (measure_decode, 90),
    "growth": (measure_growth, 250),
    "moments": (measure_moments, 90),
    "service": (measure_service, 240),
}


def main() -> None:
    """Run the parts one after the other; or a single one, in this process."""
    arguments = arguments_of(
        __doc__, out="gpu-figures", minutes=12.0, parts=",".join(PARTS), part=str, small=False, device="auto"
    )
    out, device = Path(arguments.out).resolve(), arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.part:
        PARTS[arguments.part][0](Run(arguments.part, out, device, arguments.small))
        return
    out.mkdir(parents=True, exist_ok=True)
    whole = Run("run", out, device, arguments.small)
    where = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    whole.note("begun", device=where, torch=torch.__version__, python=sys.version.split()[0])
    ends = time.monotonic() + 60 * arguments.minutes
    for part in arguments.parts.split(","):
        seconds = min(PARTS[part][1], ends - time.monotonic())
        if seconds <= 0:
            whole.note(f"{part}: no time left")
            continue
        command = [sys.executable, __file__, "--part", part, "--out", str(out), "--device", device]
        began = time.monotonic()
        ended = run_for(seconds, command + ["--small"] * arguments.small)
        whole.note(f"{part} ended", how=ended, s=time.monotonic() - began)


def run_for(seconds: float, command: list[str]) -> str:
    """Run a command, and what it starts, for no longer than that; return how it ended."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        return f"exit code {process.wait(seconds)}"
    except subprocess.TimeoutExpired:
        return "its time was over"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
