"""The random client: it edits, activates and generates from several threads, until it is told to stop."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from random import Random
from typing import Any, Self

from benchmarks.faults.api import Answer
from benchmarks.faults.edits import ANYHOW, QUICK, SentEdit
from benchmarks.faults.stack import Stack, tries

EDITS_AT_ONCE = 3
RESEND_FOR_S = 100.0
END_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Generated:
    """A generation. `asked` is the version that was named for it, if any."""

    asked: int | None
    prompt: str
    tokens: int
    answer: Answer

    def parts(self) -> list[tuple[int, str]]:
        """Return the version and the text of each part that came."""
        if self.answer.data:
            return [(self.answer["version"], self.answer["data"][0]["text"])] if self.answer.ok else []
        return [(data["version"], data["text"]) for name, data in self.answer.events() if name != "error"]

    @property
    def is_whole(self) -> bool:
        return bool(self.answer.data) or any(name == "end" for name, _ in self.answer.events())


class Load:
    """Clients of a stack, so many of each kind, which begin on entry and end on exit.

    The stack hears (`seen`) of those that hang or fall over.
    """

    def __init__(self, stack: Stack, rng: Random, editors: int = 1, generators: int = 2, activators: int = 1) -> None:
        self.generated: list[Generated] = []
        self._stack = stack
        self._clients = [self._edit] * editors + [self._generate] * generators + [self._activate] * activators
        self._draws = [Random(rng.random()) for _ in self._clients]
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(len(self._clients))
        self._running = list(map(self._pool.submit, self._clients, self._draws))
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        ended, hung = wait(self._running, END_PATIENCE_S)
        self._pool.shutdown(wait=False)
        errors = [error for one in ended if (error := one.exception())]
        self._stack.seen += ["h a client hangs"] * len(hung) + [f"x a client fell over: {error!r}" for error in errors]

    def _edit(self, rng: Random) -> None:
        outcome, mine = self._stack.registry.edits.folder.outcome, list[SentEdit]()
        while not self._over.wait(rng.uniform(0.2, 1.5)):
            if sum(1 for edit in mine if edit.ids and not outcome(edit.ids[0])) >= EDITS_AT_ONCE:
                continue
            mine.append(edit := self._drawn_edit(rng))
            if not send(self._stack, edit, rng).ok:
                continue
            if edit.key and rng.random() < 0.3:
                send(self._stack, edit, rng)
            if rng.random() < 0.12:
                time.sleep(rng.uniform(0, 1.5))
                self._ask(rng, f"POST /edits/{edit.ids[0]}/cancel")

    def _drawn_edit(self, rng: Random) -> SentEdit:
        facts, options = self._stack.facts.draw(rng, rng.randint(1, 6)), dict[str, Any]()
        retract: list[str] = []
        if rng.random() < 0.7:  # a short search, whatever comes of it: more edits in the time
            options = {"hparams": QUICK, **ANYHOW}
        roll = rng.random()
        if roll < 0.2:
            held = self._ask(rng, "GET /facts?limit=50")
            ids = {fact["id"] for fact in held["data"]} - {fact.id for fact in facts} if held.ok else set()
            retract = rng.sample(sorted(ids), min(len(ids), rng.randint(1, 3)))
        elif roll < 0.35:
            options |= {"base": rng.choice([0, self._drawn_version(rng)]), "activate": False}
        return self._stack.new_edit(facts, retract=retract, keyed=rng.random() < 0.75, **options)

    def _activate(self, rng: Random) -> None:
        while not self._over.wait(rng.uniform(2, 6)):
            if rng.random() < 0.5:
                self._ask(rng, "POST /rollback", {})
            else:
                self._ask(rng, f"POST /versions/{self._drawn_version(rng)}/activate")

    def _generate(self, rng: Random) -> None:
        while not self._over.wait(rng.uniform(0.1, 0.7)):
            asked = rng.choice([None, None, 0, self._drawn_version(rng)])
            prompt, tokens = self._stack.facts.draw(rng, 1)[0].prompt, rng.choice([1, 4, 12])
            body = {"prompt": prompt, "max_new_tokens": tokens, "stream": rng.random() < 0.5}
            answer = self._ask(rng, "POST /generate", body if asked is None else {**body, "version": asked})
            self.generated.append(Generated(asked, prompt, tokens, answer))

    def _drawn_version(self, rng: Random) -> int:
        """Draw one of the newest versions; the base where there is none."""
        return rng.choice(self._stack.registry.artifacts.all_numbers()[-8:] or [0])

    def _ask(self, rng: Random, route: str, body: dict[str, Any] | None = None) -> Answer:
        return self._stack.api.ask(rng.choice(self._stack.services), route, body)


def send(stack: Stack, edit: SentEdit, rng: Random) -> Answer:
    """Send an edit to any service; one with a key again and again, until it is accepted or refused for good."""
    for _ in tries(RESEND_FOR_S if edit.key else 0, every_s=0.5):
        answer = edit.send(stack.api, rng.choice(stack.services))
        if answer.ok or (400 <= answer.status < 500 and answer.status != 429):
            break
    return answer
