"""Minutes of mixed load while the active version changes every other second: what fails, what mixes, who waits.

    python -m benchmarks.soak [--minutes 5] [--clients 8]

Half of the clients stream, half wait for the whole answer; two thirds of the requests take the active version, the
others name one of three. No weights are kept in memory but those in use. Phases with activations and phases without
take turns, for `--minutes` each, so that both meet the same machine. Every answer is held against what the version that
it names says when it is asked alone.
"""

import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client import Errata
from errata_registry.settings import Settings
from pydantic import ByteSize

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import demo_records

PHASE_S = 30.0
ACTIVATION_EVERY_S = 2.0
NUM_PROMPTS = 40
EDITED_FACTS = 10
PATIENCE_S = 120.0

Answers = dict[tuple[str, int], str]


@dataclass
class Seen:
    """The observations of the clients in one kind of phase. Times are in milliseconds."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    mixed: list[tuple[str, int, str]] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    first_token_ms: list[float] = field(default_factory=list)
    gap_ms: list[float] = field(default_factory=list)
    activation_ms: list[float] = field(default_factory=list)
    load_ms: list[float] = field(default_factory=list)
    swap_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Print what was seen, with activations and without."""
    arguments = arguments_of(__doc__, minutes=5.0, clients=8)
    with tempfile.TemporaryDirectory(prefix="errata-soak-") as home:
        settings = Settings(home=Path(home), port=free_port(), weight_sets_bytes=ByteSize(1))
        with Supervisor(settings) as stack, Errata(stack.url) as client:
            versions = make_versions(client)
            prompts = prompts_to_ask()
            answers = answers_alone(client, prompts, versions)
            with_activations, without = "an activation every 2 s", "none"
            seen = {with_activations: Seen(), without: Seen()}
            for phase in range(2 * max(1, round(arguments.minutes * 60 / PHASE_S))):
                kind = without if phase % 2 else with_activations
                asyncio.run(
                    Load(stack.url, prompts, versions, answers, seen[kind]).run(
                        arguments.clients, kind == with_activations
                    )
                )
            step_ms = _mean_step_ms(stack.url)
    conditions = f"{arguments.clients} clients, {arguments.minutes:g} minutes each"
    report(seen, f"{conditions}, a decode step takes {step_ms:.1f} ms on average")


def report(seen: dict[str, Seen], conditions: str) -> None:
    """Print what was seen in phases of each kind, and the first of what was wrong."""
    print(f"\n{conditions}, {os.cpu_count()} cores\n")
    rows: dict[str, list[str]] = {}
    for found in seen.values():
        figures = {
            "requests": f"{found.requests}",
            "failed": f"{len(found.failed)}",
            "mixed": f"{len(found.mixed)}",
            "versions that answered": ", ".join(map(str, sorted(found.versions))),
            "first token, ms (p50 / p99)": _quantiles(found.first_token_ms),
            "between tokens, ms (p50 / p99 / longest)": f"{_quantiles(found.gap_ms)} / {max(found.gap_ms):.1f}",
            "activations": f"{len(found.activation_ms)}",
        }
        if found.activation_ms:
            figures["activation until answered, ms (p50 / p99)"] = _quantiles(found.activation_ms)
            figures["of it weights loaded, ms (p50 / p99)"] = _quantiles(found.load_ms)
            figures["of it put in place, ms (p50 / p99)"] = _quantiles(found.swap_ms, digits=3)
        for name, figure in figures.items():
            rows.setdefault(name, []).append(figure)
    print_header("", *seen)
    for name, values in rows.items():
        print_row(name, *values, *[""] * (len(seen) - len(values)))
    for found in seen.values():
        for problem in (*found.failed[:5], *found.mixed[:5]):
            print(problem)


def _quantiles(values: Sequence[float], digits: int = 1) -> str:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[49]:.{digits}f} / {cuts[98]:.{digits}f}"


def prompts_to_ask() -> list[str]:
    """Return prompts of the demo world."""
    return [record.fact.prompt for record in demo_records(NUM_PROMPTS)]


def _num_tokens(prompt: str) -> int:
    """Return a number from 8 to 48, the same for a prompt each time."""
    return 8 + 4 * (len(prompt) % 11)


def make_versions(client: Errata) -> list[int]:
    """Return the base, and two versions that real edits made."""
    edited = [record.fact for record in demo_records(2 * EDITED_FACTS)]
    facts = [(fact.subject, fact.relation, fact.object) for fact in edited]
    versions = [0]
    for start in (0, EDITED_FACTS):
        edit = client.edit(facts[start : start + EDITED_FACTS], base=0, activate=False, partial=True, tries=1).wait(
            progress=False
        )
        assert edit.version is not None
        versions.append(edit.version)
    return versions


def answers_alone(client: Errata, prompts: Sequence[str], versions: Sequence[int]) -> Answers:
    """Return what each version says of each prompt, with nothing else to do."""
    return {
        (prompt, version): client.generate(prompt, max_new_tokens=_num_tokens(prompt), version=version).text
        for prompt in prompts
        for version in versions
    }


def _mean_step_ms(url: str) -> float:
    figures = dict(
        line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines() if not line.startswith("#")
    )
    name = "errata_decode_step_seconds"
    return 1000 * float(figures[f"{name}_sum"]) / float(figures[f"{name}_count"])


class Load:
    """Clients that ask until the phase is over."""

    def __init__(self, url: str, prompts: Sequence[str], versions: Sequence[int], answers: Answers, seen: Seen) -> None:
        self._url = url
        self._prompts = prompts
        self._versions = versions
        self._answers = answers
        self._seen = seen

    async def run(self, clients: int, swapping: bool, seconds: float = PHASE_S) -> None:
        """Ask for a while, and activate meanwhile if `swapping`."""
        limits = httpx.Limits(max_connections=clients + 1)
        async with httpx.AsyncClient(base_url=self._url, timeout=PATIENCE_S, limits=limits, trust_env=False) as http:
            over = time.monotonic() + seconds
            work = [self._ask(http, number, over) for number in range(clients)]
            if swapping:
                work.append(self._activate(http, over))
            await asyncio.gather(*work)

    async def _ask(self, http: httpx.AsyncClient, number: int, over: float) -> None:
        draw = random.Random(number)
        while time.monotonic() < over:
            prompt = draw.choice(self._prompts)
            body: dict[str, Any] = {"prompt": prompt, "max_new_tokens": _num_tokens(prompt)}
            if draw.random() < 1 / 3:
                body["version"] = draw.choice(self._versions)
            self._seen.requests += 1
            try:
                version, text = await (self._stream if number % 2 else self._whole)(http, body)
            except (httpx.HTTPError, RuntimeError) as error:
                self._seen.failed.append(repr(error))
                continue
            self._seen.versions.add(version)
            if text != self._answers[prompt, version] or version != body.get("version", version):
                self._seen.mixed.append((prompt, version, text))

    async def _whole(self, http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, str]:
        answer = (await http.post("/generate", json=body)).raise_for_status().json()
        return answer["version"], answer["data"][0]["text"]

    async def _stream(self, http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, str]:
        began = time.perf_counter()
        last, name, text, version = 0.0, "", "", -1
        async with http.stream("POST", "/generate", json={**body, "stream": True}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                if not line.startswith("data: "):
                    continue
                now, data = time.perf_counter(), json.loads(line.removeprefix("data: "))
                if name == "error" or version not in (-1, data["version"]):
                    raise RuntimeError(line)
                version, text = data["version"], text + data["text"]
                if name == "token":
                    waited_ms = 1000 * (now - (last or began))
                    (self._seen.gap_ms if last else self._seen.first_token_ms).append(waited_ms)
                    last = now
        if name != "end":
            raise RuntimeError(f"a stream ended with {name!r}")
        return version, text

    async def _activate(self, http: httpx.AsyncClient, over: float) -> None:
        turn = 0
        while time.monotonic() < over:
            turn += 1
            began = time.perf_counter()
            answer = await http.post(f"/versions/{self._versions[turn % len(self._versions)]}/activate")
            self._seen.activation_ms.append(1000 * (time.perf_counter() - began))
            for replica in answer.raise_for_status().json()["replicas"]:
                self._seen.load_ms.append(replica["load_ms"])
                self._seen.swap_ms.append(replica["swap_ms"])
            await asyncio.sleep(ACTIVATION_EVERY_S)


if __name__ == "__main__":
    main()
