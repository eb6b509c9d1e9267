"""Damage to what the home folder keeps: files cut short, emptied, or with one bit flipped."""

import time
from pathlib import Path
from random import Random

from errata_registry.verification import verify
from errata_registry.versions.folder import DELTA

from benchmarks.faults.stack import Stack, tries

HALF_A_LINE = b'{"active": 9999, "previous": 0, "at": "20'
START_S = 6.0
ANSWER_PATIENCE_S = 40.0


def torn_version(stack: Stack, rng: Random, name: str, may_flip: bool = True) -> str:
    """A damaged file of a version: it is told of, nothing is generated with a damaged update, and it is put right."""
    if not (numbers := stack.registry.artifacts.numbers()):
        return "there is no version yet"
    number, service = rng.choice(numbers), rng.choice(stack.services)
    path = stack.registry.artifacts.folder(number).path / name
    original, how = damage(path, rng, may_flip)
    stack.kill(service)  # a fresh one has nothing in its memory
    stack.start(service)
    time.sleep(START_S)
    if not any(f"version {number}" in fault and name in fault for fault in verify(stack.home).faults):
        stack.seen.append(f"e {name} of version {number} was {how}, and errata verify does not say so")
    for _ in tries(ANSWER_PATIENCE_S):
        said = stack.api.ask(service, f"GET /generate?prompt=Sony&max_new_tokens=1&version={number}")
        if said.status not in (0, 503):
            break
    if name == DELTA and (said.ok or DELTA not in str(said)):
        stack.seen.append(f"e {DELTA} of version {number} was {how}, and a generation under it: {said}")
    replace(path, original)
    return f"{name} of version {number} was {how}, {service} started again; a generation: {said.status}"


def torn_targets(stack: Stack, rng: Random) -> str:
    """Damaged files of the cache of targets."""
    files = [path for path in (stack.home / "targets").rglob("*.safetensors") if rng.random() < 0.7]
    for path in files:
        damage(path, rng)
    return f"{len(files)} files were damaged"


def torn_journal(stack: Stack, rng: Random) -> str:
    """Half a line, as a crash in the middle of an append leaves it."""
    stack.kill(*stack.processes)
    with (stack.home / "activations.jsonl").open("ab") as journal:
        journal.write(HALF_A_LINE[: rng.randrange(1, len(HALF_A_LINE))])
    stack.revive()
    return "half a line at the journal's end, everything started again"


def torn_moments(stack: Stack, rng: Random) -> str:
    """Damaged second moments, which a worker that starts must not take."""
    path = next((stack.home / "second_moments").rglob("layer_0.safetensors"))
    original, how = damage(path, rng)
    worker = rng.choice(stack.workers)
    stack.kill(worker)
    stack.start(worker)
    time.sleep(2 * START_S)
    ended = stack.processes[worker].poll()
    replace(path, original)
    stack.revive()
    return f"layer 0 was {how}; {worker}, started again, {'goes on' if ended is None else f'ended with {ended}'}"


def damage(path: Path, rng: Random, may_flip: bool = True) -> tuple[bytes, str]:
    """Damage a file; return what it held, and how it was damaged."""
    original = path.read_bytes()
    place = rng.randrange(1, len(original))
    ways = {"cut short": original[:place], "emptied": b"", "changed by a bit": flipped(original, place)}
    how = rng.choice(list(ways)[: 3 if may_flip else 2])
    replace(path, ways[how])
    return original, how


def flipped(content: bytes, place: int, bit: int = 1) -> bytes:
    """Return bytes of which the one at a place has its `bit`, a power of two, flipped."""
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def replace(path: Path, content: bytes) -> None:
    """Give a file another content, not in place: whoever has it mapped would die of SIGBUS, which no crash does."""
    beside = path.with_name(f"damaged-{path.name}")
    beside.write_bytes(content)
    beside.replace(path)
