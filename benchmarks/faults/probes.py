"""The probes: single things that went wrong once, reproduced step by step. A probe yields what it finds violated.

They run one after another on a stack with one worker. All must be well again after each, and the invariants hold.
"""

import math
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from errata_registry.verification import verify
from errata_registry.versions.folder import MANIFEST

from benchmarks.faults import disk
from benchmarks.faults.api import Answer
from benchmarks.faults.clock import Clock
from benchmarks.faults.damage import flipped, replace
from benchmarks.faults.edits import ANYHOW, SentEdit
from benchmarks.faults.invariants import canary
from benchmarks.faults.kinds import redis_of_before
from benchmarks.faults.load import Load
from benchmarks.faults.stack import Stack, tries
from errata.facts import Fact

SERVICE = "service1"
FEW_STEPS = {"num_steps": 3}


def idem_flush(stack: Stack) -> Iterator[str]:
    """Redis forgets everything, and a key comes again: it stands for its edit, one that has ended and one at work."""
    for facts in (stack.facts.first(2), stack.facts.first(60, skip=400)):
        edit = _send(stack, facts, keyed=True)
        if len(facts) == 2:
            stack.outcome(edit.ids[0])
        stack.redis.flushall()
        edit.send(stack.api, SERVICE)
        time.sleep(8)
        edit.send(stack.api, SERVICE)
        if edit.errors:
            yield f"a {edit.note}: its key gives {edit.errors}"


def old_snapshot(stack: Stack) -> Iterator[str]:
    """Redis comes back with what it knew before edits were accepted: they must be done without a restart of others."""
    with redis_of_before(stack):
        for number, skip in ((60, 100), (1, 300), (1, 301)):
            _send(stack, stack.facts.first(number, skip), keyed=True)
        time.sleep(1)
    yield from (f"i {obstacle}" for obstacle in stack.converge(2 * stack.limit_s))


def ghost(stack: Stack) -> Iterator[str]:
    """Redis is full: what is answered with an error never happens, what is accepted happens, in the order of
    acceptance, and no older edit overwrites a newer fact."""
    _done(stack, _send(stack, stack.facts.first(1), hparams=FEW_STEPS))
    stack.redis.config_set("maxmemory", 1)
    about_sony = [_sony(stack, "Paris", keyed=True), _sony(stack, "Rome"), _sony(stack, "Madrid", keyed=True)]
    for edit in about_sony[::2]:
        edit.send(stack.api, SERVICE)
    before = len(stack.registry.activations.journal.entries())
    refused = [stack.api.ask(SERVICE, route, {}) for route in ("POST /rollback", "POST /versions/0/activate")]
    print(f"  Redis is full: {[edit.errors or edit.ids for edit in about_sony]}, {[str(answer) for answer in refused]}")
    after = len(stack.registry.activations.journal.entries())
    stack.redis.config_set("maxmemory", 0)
    about_sony.append(_sony(stack, "Berlin"))
    if after - before != sum(answer.ok for answer in refused):
        yield "c an activation that was refused is in the journal"
    accepted = [edit for edit in about_sony if edit.ids]
    ended = [_done(stack, edit) for edit in accepted]
    for edit, outcome in zip(accepted, ended, strict=True):
        if outcome["status"] != "succeeded":
            yield f"a {edit.note} was accepted, and {outcome}"
    made = [outcome["version"] for outcome in ended]
    if made != sorted(made):
        yield f"a edits that were accepted one after another made versions {made}"
    stack.kill(SERVICE)
    stack.revive()
    stack.converge()
    held = [fact.object for fact in stack.registry.versions.facts(stack.active()) if fact.subject == "Sony"]
    if held != [accepted[-1].facts[0].object]:
        yield f"a Sony is in {held}, and the last edit that was accepted says {accepted[-1].facts[0].object}"


def refused_but_done(stack: Stack) -> Iterator[str]:
    """Redis is away while a rollback is asked for again and again: what was refused must not have happened."""
    for skip in (0, 1):
        _done(stack, _send(stack, stack.facts.first(1, skip), hparams=FEW_STEPS))
    before = stack.active()
    stack.kill("redis")
    answers = [stack.api.ask(SERVICE, "POST /rollback", {}) for _ in range(3)]
    stack.revive()
    stack.converge()
    print(f"  rollbacks while Redis is away: {[str(answer) for answer in answers]}")
    if stack.active() != before and not any(answer.ok for answer in answers):
        yield f"c version {before} was active, every rollback was refused, and now it is {stack.active()}"


def full_disk(stack: Stack) -> Iterator[str]:
    """Not a byte is left on the disk for 45 s: the edit at work survives, what is refused never happens, and nothing
    half written stays."""
    _done(stack, _send(stack, stack.facts.first(1), hparams=FEW_STEPS))
    at_work = _send(stack, stack.facts.first(6, skip=20))
    stack.wait_until_busy(Random(1), 20)
    scratch = _half_written(stack.home)
    with disk.filled(stack.home):
        before = stack.active()
        keyed, unkeyed = (_send(stack, stack.facts.first(1, skip=40), keyed=keyed) for keyed in (True, False))
        answers = [stack.api.ask(SERVICE, route, {}) for route in ("POST /versions/0/activate", "POST /rollback")]
        print(f"  full: {keyed.errors} {unkeyed.errors} {[str(answer) for answer in answers]}")
        if stack.active() != before and not any(answer.ok for answer in answers):
            yield "c an activation that was refused is in the journal"
        stack.outcome(at_work.ids[0], 45)
    keyed.send(stack.api, SERVICE)
    if not keyed.ids:
        yield f"a with room again, the edit is still refused: {keyed.errors}"
    if (ended := _done(stack, at_work))["status"] != "succeeded":
        yield f"a the edit at work: {ended} {ended['error']}"
    if left := _half_written(stack.home) - scratch:
        yield f"g what was half written stays: {left}"


def _half_written(home: Path) -> set[str]:
    files = {path.name for path in home.rglob(".*") if re.search(r"\.[0-9a-f]{8}$", path.name)}
    return files | {path.name for path in (home / "edits").iterdir() if not any(path.iterdir())}


def blackhole(stack: Stack) -> Iterator[str]:
    """Connections to Redis die without a word, those of the services and then the worker's: all must be well again."""
    _done(stack, _send(stack, stack.facts.first(1)))
    stack.proxies["service"].forget()
    time.sleep(15)
    began, answer = time.monotonic(), stack.api.ask(SERVICE, "POST /rollback", {"to": 0})
    yield from (f"i the services hear nothing: {obstacle}" for obstacle in stack.converge(2 * stack.limit_s))
    print(f"  a rollback over lost connections: {answer}; all was well after {time.monotonic() - began:.0f} s")
    stack.proxies["worker"].forget()
    began = time.monotonic()
    _send(stack, stack.facts.first(1, skip=5))
    yield from (f"i the worker hears nothing: {obstacle}" for obstacle in stack.converge(2 * stack.limit_s))
    print(f"  an edit over a lost connection of the worker: {time.monotonic() - began:.0f} s")


def outages(stack: Stack) -> Iterator[str]:
    """Redis is away for 25 s again and again during a long edit, of which no worker died: it must not fail."""
    edit = _send(stack, stack.facts.first(240))
    for _ in range(4):
        if not stack.wait_until_busy(Random(1), 40):
            break
        stack.kill("redis")
        time.sleep(25)
        stack.revive()
        time.sleep(4)
    if (ended := _done(stack, edit, 150))["status"] == "failed":
        yield f"a after outages of Redis: {ended['error']}"


def redis_down(stack: Stack) -> Iterator[str]:
    """Redis is away for two minutes: generations go on, and whatever is asked for is answered in good time."""
    edit = _done(stack, _send(stack, stack.facts.first(3)))
    read = ("readyz", "versions", "facts", "edits", "metrics", "healthz", f"edits/{edit['id']}?wait=5")
    done = ("rollback", f"versions/{edit['version']}/activate")
    with Load(stack, Random(1), editors=0, activators=0) as load:
        stack.kill("redis")
        began = time.monotonic()
        _send(stack, stack.facts.first(1, skip=9))
        for route in (*(f"GET /{path}" for path in read), *(f"POST /{path}" for path in done)):
            answer = stack.api.ask(SERVICE, route, {} if route.startswith("POST") else None)
            print(f"  Redis is away, {route}: {answer} after {answer.elapsed_s:.1f} s")
        time.sleep(max(0.0, 120 - (time.monotonic() - began)))
        stack.revive()
    failed = [str(one.answer) for one in load.generated if not one.answer.ok]
    if failed:
        yield f"i {len(failed)} of {len(load.generated)} generations failed while Redis was away: {failed[0]}"


def sigterm(stack: Stack) -> Iterator[str]:
    """Each part is told to stop under load: it ends by itself, with 0."""
    with Load(stack, Random(1)):
        for name in ("service2", "worker1", "redis"):
            stack.wait_until_busy(Random(2), 8)
            stack.signal(name, signal.SIGTERM)
            if not any(stack.processes[name].poll() is not None for _ in tries(60)):
                yield f"i {name} was told to stop, and did not in a minute"
                stack.kill(name)
            elif code := stack.processes[name].poll():
                yield f"i {name} was told to stop, and ended with {code}"
            stack.revive()
            time.sleep(10)


def skew(stack: Stack) -> Iterator[str]:
    """A worker whose clock is a minute behind everybody's: its leases look lapsed, and its edit must not fail."""
    clock = Clock(stack.root / "skewed-clock")
    clock.shift(-60)
    stack.kill("worker1")
    stack.start("worker1", clock)
    if (ended := _done(stack, _send(stack, stack.facts.first(200)), 150))["status"] != "succeeded":
        yield f"a an edit of a worker whose clock is behind: {ended} {ended['error']}"
    stack.kill("worker1")
    stack.revive()


def flip(stack: Stack) -> Iterator[str]:
    """One bit is flipped, or the last line lost, in all that is kept, so that it can still be read: verify sees it."""
    first, second = (_done(stack, _send(stack, stack.facts.first(1, skip))) for skip in (0, 1))
    with stack.registry.activations.journal.locked():
        stack.registry.aliases.put("production", first["version"])
    version = stack.registry.artifacts.folder(second["version"]).path
    moments = next((stack.home / "second_moments").rglob("layer_0.safetensors"))
    journal, edit = stack.home / "activations.jsonl", stack.home / "edits" / second["id"]
    flips: list[tuple[Path, bytes | int]] = [  # the group of a pattern's last match, or a place in the file
        (journal, rb'"active": ?\d*(\d)'),
        (journal, rb'"(a)ctive"'),
        (stack.home / "aliases.json", rb"(\d)"),
        (version / MANIFEST, rb'"parent": ?\d*(\d)'),
        (version / MANIFEST, rb'"clamp[a-z_]*": ?\d*(\d)'),
        (edit / "request.json", rb'"object": ?"(\w)'),
        (edit / "outcome.json", rb'"status": ?"(\w)'),
        (next((stack.home / "contexts").rglob("*.json")), rb"t(h)e"),
        (moments, -1000),
        (moments.with_name("layer_0.cholesky.safetensors"), -16),
    ]
    for path, where in flips:
        content = path.read_bytes()
        place = where if isinstance(where, int) else list(re.finditer(where, content))[-1].start(1)
        yield from _unseen(stack, path, flipped(content, place), f"a flipped bit at {where!r}")
    lines = journal.read_bytes().splitlines(keepends=True)
    yield from _unseen(stack, journal, b"".join(lines[:-1]), "the last line")


def _unseen(stack: Stack, path: Path, damaged: bytes, what: str) -> Iterator[str]:
    original = path.read_bytes()
    replace(path, damaged)
    if not verify(stack.home).faults:
        yield f"e errata verify does not see {what} of {path.relative_to(stack.home)}"
    replace(path, original)


def flip_factor(stack: Stack) -> Iterator[str]:
    """One bit is flipped in the kept Cholesky factor, and then in the second moments: no edit must come out other."""
    before = canary(stack)
    moments = next((stack.home / "second_moments").rglob("layer_0.safetensors"))
    factor = moments.with_name("layer_0.cholesky.safetensors")
    kept = moments.read_bytes(), factor.read_bytes()
    for path, size, lowest_of_exponent in ((factor, 8, 16), (moments, 4, 128)):
        content = path.read_bytes()
        header = 8 + int.from_bytes(content[:8], "little")
        side = math.isqrt((len(content) - header) // size)
        place = header + size * (100 * side + 100) + size - 2  # the diagonal's entry 100, which is doubled or halved
        factor.unlink()  # so that it is computed anew from the moments
        replace(path, flipped(content, place, lowest_of_exponent))
        stack.kill("worker1")
        stack.revive()
        stack.converge()
        if (after := canary(stack)) != before:
            yield f"f a bit of {path.name} is flipped, and the canary is {after}, and was {before}"
        replace(moments, kept[0])
        replace(factor, kept[1])
    stack.kill("worker1")
    stack.revive()


def _send(stack: Stack, facts: Sequence[Fact], *, keyed: bool = False, **options: Any) -> SentEdit:
    edit = stack.new_edit(facts, keyed=keyed, **ANYHOW, **options)
    edit.send(stack.api, SERVICE)
    return edit


def _sony(stack: Stack, place: str, *, keyed: bool = False) -> SentEdit:
    return _send(stack, [Fact("Sony", "has its headquarters in", place)], keyed=keyed, hparams=FEW_STEPS)


def _done(stack: Stack, edit: SentEdit, patience_s: float = 60.0) -> Answer:
    return stack.outcome(edit.ids[0], max(patience_s, stack.limit_s))


PROBES: Mapping[str, Callable[[Stack], Iterator[str]]] = {
    "idem-flush": idem_flush,
    "old-snapshot": old_snapshot,
    "ghost": ghost,
    "refused-but-done": refused_but_done,
    "full-disk": full_disk,
    "blackhole": blackhole,
    "outages": outages,
    "redis-down": redis_down,
    "sigterm": sigterm,
    "skew": skew,
    "flip": flip,
    "flip-factor": flip_factor,
}
