"""The kinds of faults, a function each: it brings a fault about, holds it for a while, heals it, and says what it was.

The random client is at work meanwhile and, unless that takes too long, a worker has an edit in hand.
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

from errata_registry.versions.folder import DELTA, FACTS, MANIFEST

from benchmarks.faults import disk
from benchmarks.faults.damage import torn_journal, torn_moments, torn_targets, torn_version
from benchmarks.faults.load import send
from benchmarks.faults.stack import Stack

STOPPED_S = 20.0
DELAY_S = 0.15
JUMPS_S = (-80_000, -3_600, 3_600, 80_000)  # less than the day that an idempotency key lives for


def none(stack: Stack, rng: Random) -> str:
    """The control."""
    return "no fault"


def race(stack: Stack, rng: Random) -> str:
    """Two edits at the same moment that name one base, and two that name none."""
    active = stack.active()
    with ThreadPoolExecutor() as pool:
        for options in (dict[str, Any](base=active), {}):
            for _ in range(2):
                edit = stack.new_edit(stack.facts.draw(rng, 2), keyed=True, **options)
                pool.submit(send, stack, edit, Random(rng.random()))
            time.sleep(1)
    return f"two edits of version {active} at once, and two of what is active"


def kill(stack: Stack, rng: Random, kind: str = "", everyone: bool = False) -> str:
    """One process of a kind, or all of them, killed and after a while started again."""
    names = [name for name in stack.processes if name.startswith(kind)]
    killed = rng.sample(names, len(names) if everyone else 1)
    away_s = rng.choice([rng.uniform(0.1, 1), rng.uniform(4, 12)])
    stack.kill(*killed)
    time.sleep(away_s)
    stack.revive()
    return f"{', '.join(killed)} back after {away_s:.1f} s"


def stop(stack: Stack, rng: Random, kind: str) -> str:
    """One process of a kind that does nothing for a while."""
    name = rng.choice([name for name in stack.processes if name.startswith(kind)])
    stack.signal(name, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    stack.signal(name, signal.SIGCONT)
    return f"{name} for {STOPPED_S:.0f} s"


def flushall(stack: Stack, rng: Random) -> str:
    """A Redis that forgets everything."""
    stack.redis.flushall()
    return "Redis was emptied"


def redis_empty(stack: Stack, rng: Random) -> str:
    """A Redis that comes back without its files."""
    stack.kill("redis")
    shutil.rmtree(stack.redis_folder)
    time.sleep(rng.uniform(0.1, 5))
    stack.revive()
    return "Redis came back empty"


def redis_old_snapshot(stack: Stack, rng: Random) -> str:
    """A Redis that comes back with what it knew some time ago, while nothing else is started again."""
    age_s = rng.uniform(5, 12)
    with redis_of_before(stack):
        time.sleep(age_s)
        stack.wait_until_busy(rng)
    return f"Redis came back {age_s:.0f} s old"


@contextmanager
def redis_of_before(stack: Stack) -> Iterator[None]:
    """In the end let Redis be killed and come back with what it knew at the beginning."""
    snapshot = shutil.copytree(stack.redis_folder, stack.root / "redis-snapshot")
    yield
    stack.kill("redis")
    shutil.rmtree(stack.redis_folder)
    snapshot.rename(stack.redis_folder)
    stack.revive()


def redis_full(stack: Stack, rng: Random) -> str:
    """A Redis that takes nothing."""
    used = stack.redis.info("memory")["used_memory"]
    stack.redis.config_set("maxmemory", max(1, used - rng.choice([0, 200_000])))
    held = _hold(rng, 6, 12)
    stack.redis.config_set("maxmemory", 0)
    return f"Redis was full {held}"


def partition(stack: Stack, rng: Random, kind: str) -> str:
    """All processes of a kind cut off from Redis."""
    stack.proxies[kind].hold_back()
    held, sever = _hold(rng, 10, 25), rng.random() < 0.5
    stack.proxies[kind].heal(sever)
    return f"{kind}s without Redis {held}, then what was held back was {'lost' if sever else 'delivered'}"


def slow_network(stack: Stack, rng: Random) -> str:
    """A long way to Redis."""
    kind = rng.choice(list(stack.proxies))
    stack.proxies[kind].delay_s = DELAY_S
    held = _hold(rng, 10, 25)
    stack.proxies[kind].heal()
    return f"{1000 * DELAY_S:.0f} ms between {kind}s and Redis {held}"


def bucket(stack: Stack, rng: Random, fault: str) -> str:
    """An object store that is slow, or too busy, or whose answers are lost."""
    assert stack.bucket is not None
    setattr(stack.bucket.network, fault, DELAY_S if fault == "delay_s" else True)
    held = _hold(rng, 2, 25)
    stack.bucket.network.heal()
    return f"{fault} between all processes and the bucket {held}"


def disk_full(stack: Stack, rng: Random) -> str:
    """A disk that takes nothing."""
    bytes_left = rng.choice([0, 4096, 32768])
    with disk.filled(stack.home, bytes_left):
        return f"{bytes_left} bytes left on the disk {_hold(rng, 6, 12)}"


def disk_read_only(stack: Stack, rng: Random) -> str:
    """A disk that can only be read."""
    with disk.read_only(stack.home):
        return f"the disk was read-only {_hold(rng, 6, 12)}"


def clock_jump(stack: Stack, rng: Random) -> str:
    """Clocks of workers and services that jump, and sometimes back."""
    jump_s, is_back = rng.choice(JUMPS_S), rng.random() < 0.5
    assert stack.clock is not None
    stack.clock.shift(jump_s)
    time.sleep(12)
    if is_back:
        stack.clock.shift(0)
    return f"{jump_s:+d} s, {'and back after 12 s' if is_back else 'for good'}"


def _hold(rng: Random, least_s: float, most_s: float) -> str:
    held_s = rng.uniform(least_s, most_s)
    time.sleep(held_s)
    return f"for {held_s:.0f} s"


KINDS: Mapping[str, Callable[[Stack, Random], str]] = {
    "none": none,
    "race": race,
    "kill-worker": partial(kill, kind="worker"),
    "kill-all-workers": partial(kill, kind="worker", everyone=True),
    "kill-service": partial(kill, kind="service"),
    "kill-redis": partial(kill, kind="redis"),
    "kill-all": partial(kill, everyone=True),
    "stop-worker": partial(stop, kind="worker"),
    "stop-service": partial(stop, kind="service"),
    "stop-redis": partial(stop, kind="redis"),
    "flushall": flushall,
    "redis-empty": redis_empty,
    "redis-old-snapshot": redis_old_snapshot,
    "redis-oom": redis_full,
    "partition-service": partial(partition, kind="service"),
    "partition-worker": partial(partition, kind="worker"),
    "slow-network": slow_network,
    "torn-artifact": partial(torn_version, name=DELTA),
    "torn-facts": partial(torn_version, name=FACTS),
    "torn-manifest": partial(torn_version, name=MANIFEST, may_flip=False),
    "torn-targets": torn_targets,
    "torn-journal": torn_journal,
    "torn-moments": torn_moments,
    "enospc": disk_full,
    "readonly": disk_read_only,
    "clock-jump": clock_jump,
}
KINDS_WITH_BUCKET: Mapping[str, Callable[[Stack, Random], str]] = {
    "slow-bucket": partial(bucket, fault="delay_s"),
    "busy-bucket": partial(bucket, fault="is_busy"),
    "lost-answers": partial(bucket, fault="loses_answers"),
    **{name: KINDS[name] for name in ("race", "kill-worker", "kill-service", "kill-all", "flushall")},
}
