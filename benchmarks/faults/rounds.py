"""The rounds: the random client at work, one fault, recovery, and then the invariants."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.command import print_header, print_row
from benchmarks.faults.api import HUNG_AFTER_S, faults_of
from benchmarks.faults.invariants import Invariants
from benchmarks.faults.kinds import KINDS, KINDS_WITH_BUCKET
from benchmarks.faults.load import Generated, Load
from benchmarks.faults.probes import PROBES
from benchmarks.faults.stack import START_PATIENCE_S

LOAD_AFTER_S = 3.0
LEAST_RECOVERY_S = 5.0
CANARY_EVERY = 3
ABOUT_WORKERS = ("worker", "kill-all", "moments", "targets")


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


def run(invariants: Invariants, name: str, seed: int = 0, number: int = 0) -> Round:
    """Run a probe, or a round with this kind of fault; wait for recovery, look at the invariants, and tell of it."""
    stack, rng, before = invariants.stack, Random(f"{seed}/{number}/{name}"), len(invariants.stack.sent)
    generated, said = list[Generated](), ""
    stack.seen.clear()
    stack.api.answers.clear()
    kinds = {**KINDS, **KINDS_WITH_BUCKET}
    if name in kinds:
        with Load(stack, rng) as load:
            time.sleep(rng.uniform(1.5, 5))
            stack.wait_until_busy(rng)
            said, generated = kinds[name](stack, rng), load.generated
            healed_at = time.monotonic()
            time.sleep(LOAD_AFTER_S)
    else:
        stack.seen += list(PROBES[name](stack))
        healed_at = time.monotonic()
    sent = stack.sent[before:]
    obstacles = stack.converge(max(LEAST_RECOVERY_S, stack.limit_s - (time.monotonic() - healed_at)), sent)
    recovery_s = None if obstacles else time.monotonic() - healed_at
    if obstacles:
        stack.seen.append(f"i no recovery in {stack.limit_s:.0f} s: {'; '.join(obstacles)[:300]}")
        stack.kill(*stack.processes)
        stack.revive()
        stack.seen += [f"i nor after a restart: {obstacle}" for obstacle in stack.converge(START_PATIENCE_S)]
    with_canary = number % CANARY_EVERY == 0 or any(word in name for word in ABOUT_WORKERS)
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
    edits = f"{sum(bool(edit.ids) for edit in sent)} edits, {len(generated)} generations"
    print(f"{name}: {found.letters or 'held'}; {said}; {edits}; recovery {_seconds(recovery_s)}", flush=True)
    for line in violated:
        print("    !", line, flush=True)
    return found


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
