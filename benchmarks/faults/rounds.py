"""The rounds: the random client at work, one fault, recovery, and then the invariants."""

import statistics
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.command import print_header, print_row
from benchmarks.faults.api import HUNG_AFTER_S, faults_of
from benchmarks.faults.invariants import Invariants
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.load import Load
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
    while len(plan) < rounds:
        plan += rng.sample(kinds, len(kinds))
    return plan[:rounds]


def play(invariants: Invariants, kind: str, seed: int, number: int) -> Round:
    """Run one round, and tell of it. What goes wrong with the campaign itself counts as a violation `x`."""
    stack, rng, before = invariants.stack, Random(f"{seed}/{number}/{kind}"), len(invariants.stack.sent)
    stack.seen.clear()
    stack.api.answers.clear()
    load, said, recovery_s = Load(stack), "", None
    load.begin(rng)
    try:
        time.sleep(rng.uniform(1.5, 5))
        stack.wait_until_busy(rng)
        said = KINDS[kind](stack, rng)
        healed = time.monotonic()
        time.sleep(LOAD_AFTER_S)
        load.end()
        sent = stack.sent[before:]
        limit_s = max(LEAST_RECOVERY_S, stack.limit_s - (time.monotonic() - healed))
        if obstacles := stack.converge(limit_s, sent):
            stack.seen += _told_of_no_recovery(stack, obstacles)
        else:
            recovery_s = time.monotonic() - healed
        with_canary = number % CANARY_EVERY == 0 or any(word in kind for word in ABOUT_WORKERS)
        violated = [
            *invariants.violated(sent, load.generated),
            *invariants.keys_give_their_edits(sent),
            *invariants.rollback_gives_the_base(),
            *(invariants.canary_is_the_same() if with_canary else ()),
            *invariants.nothing_is_left(),
        ]
    except Exception:
        load.end()
        violated = [f"x the campaign itself failed: {traceback.format_exc()}"]
    violated += [*stack.seen, *faults_of(stack.api.answers, max(HUNG_AFTER_S, stack.limit_s))]
    num_accepted = sum(bool(edit.ids) for edit in stack.sent[before:])
    told = f"{said}; recovery {_seconds(recovery_s)}; {num_accepted} edits, {len(load.generated)} generations"
    return tell(Round(kind, violated, recovery_s), told)


def tell(round_: Round, said: str) -> Round:
    """Print what a round showed."""
    print(f"{round_.name}: {f'VIOLATED {round_.letters}' if round_.violated else 'held'}; {said}", flush=True)
    for line in round_.violated:
        print("    !", line, flush=True)
    return round_


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
