"""The rounds: the random client at work, one fault, recovery, and then the invariants."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.command import print_header, print_row
from benchmarks.faults.api import HUNG_AFTER_S, faults_of
from benchmarks.faults.edits import SentEdit
from benchmarks.faults.invariants import Invariants
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.load import Generated, Load
from benchmarks.faults.probes import PROBES
from benchmarks.faults.stack import Stack

LOAD_AFTER_S = 3.0
LEAST_RECOVERY_S = 5.0
SECOND_CHANCE_S = 90.0
CANARY_EVERY = 3
ABOUT_WORKERS = ("worker", "all", "moments", "targets")


@dataclass(frozen=True, slots=True)
class Round:
    """What a round showed: a line for each violation, and the seconds that recovery took, None for no recovery."""

    name: str
    violated: list[str]
    recovery_s: float | None = None

    @property
    def letters(self) -> str:
        """The letters of the invariants that were violated."""
        return "".join(sorted({line[0] for line in self.violated}))


def planned(kinds: Sequence[str], rounds: int, seed: int) -> list[str]:
    """Return the kind of each round: all of them in an order drawn with the seed, over and over again."""
    rng, plan = Random(seed), list[str]()
    while kinds and len(plan) < rounds:
        plan += rng.sample(kinds, len(kinds))
    return plan[:rounds]


def play(invariants: Invariants, kind: str, seed: int, number: int) -> Round:
    """Run one round, and tell of it."""
    stack, rng, before = _begin(invariants), Random(f"{seed}/{number}/{kind}"), len(invariants.stack.sent)
    with Load(stack, rng) as load:
        time.sleep(rng.uniform(1.5, 5))
        stack.wait_until_busy(rng)
        said = KINDS[kind](stack, rng)
        healed_at = time.monotonic()
        time.sleep(LOAD_AFTER_S)
    sent = stack.sent[before:]
    with_canary = number % CANARY_EVERY == 0 or any(word in kind for word in ABOUT_WORKERS)
    said += f"; {sum(bool(edit.ids) for edit in sent)} edits, {len(load.generated)} generations"
    return _look(invariants, kind, said, healed_at, sent, load.generated, with_canary)


def probe(invariants: Invariants, name: str) -> Round:
    """Run one probe, and tell of it."""
    stack, before = _begin(invariants), len(invariants.stack.sent)
    stack.seen += PROBES[name](stack)
    return _look(invariants, name, "", time.monotonic(), stack.sent[before:])


def _begin(invariants: Invariants) -> Stack:
    stack = invariants.stack
    stack.seen.clear()
    stack.api.answers.clear()
    return stack


def _look(
    invariants: Invariants,
    name: str,
    said: str,
    healed_at: float,
    sent: Sequence[SentEdit],
    generated: Sequence[Generated] = (),
    with_canary: bool = False,
) -> Round:
    """Wait for recovery, look at the invariants, and tell what was found."""
    stack, recovery_s = invariants.stack, None
    if obstacles := stack.converge(max(LEAST_RECOVERY_S, stack.limit_s - (time.monotonic() - healed_at)), sent):
        stack.seen += _told_of_no_recovery(stack, obstacles)
    else:
        recovery_s = time.monotonic() - healed_at
    violated = [
        *invariants.violated(sent, generated),
        *invariants.keys_give_their_edits(sent),
        *invariants.rollback_gives_the_base(),
        *(invariants.canary_is_the_same() if with_canary else ()),
        *invariants.nothing_is_left(),
        *faults_of(stack.api.answers, max(HUNG_AFTER_S, stack.limit_s)),
        *stack.seen,
    ]
    found = Round(name, violated, recovery_s)
    print(f"{name}: {found.letters or 'held'}; {said}; recovery {_seconds(recovery_s)}", flush=True)
    for line in violated:
        print("    !", line, flush=True)
    return found


def _told_of_no_recovery(stack: Stack, obstacles: Sequence[str]) -> Iterator[str]:
    """Tell what was in the way of recovery, and what brings it about after all."""
    yield f"i no recovery in {stack.limit_s:.0f} s: {'; '.join(obstacles)[:300]}"
    if not stack.converge(SECOND_CHANCE_S):
        yield f"i it recovered within {SECOND_CHANCE_S:.0f} s more"
        return
    stack.kill(*stack.workers, *stack.services)
    stack.revive()
    obstacles = stack.converge(SECOND_CHANCE_S)
    yield f"i starting everything but Redis again {f'does not heal it: {obstacles[:3]}' if obstacles else 'heals it'}"


def print_table(rounds: Sequence[Round]) -> None:
    """Print what the rounds of each kind showed."""
    print_header("", "rounds", "violated", "recovery (median / longest)")
    for name in sorted({one.name for one in rounds}):
        played = [one for one in rounds if one.name == name]
        times = [one.recovery_s for one in played if one.recovery_s is not None]
        recovery = f"{_seconds(statistics.median(times))} / {_seconds(max(times))}" if times else "-"
        letters = "".join(sorted({letter for one in played for letter in one.letters}))
        print_row(f"`{name}`", len(played), letters or "-", recovery)


def _seconds(time_s: float | None) -> str:
    return "none" if time_s is None else f"{time_s:.0f} s"
