"""What a long command shows of itself on the terminal: what is being done, what came of it, and what is left."""

from __future__ import annotations

import sys
from collections.abc import Callable


class Progress:
    """Of a number of pieces, written to standard error; within a piece only where that is a terminal."""

    def __init__(self, pieces: int, done: int = 0, *, at_most: bool = False) -> None:
        """Some may be done already, and there may be fewer in the end."""
        self._pieces = pieces
        self._done = done
        self._left = "at most" if at_most else ""
        self._on_terminal = sys.stderr.isatty()

    def within(self, piece: str) -> Callable[[str, int, int], None]:
        """To be called with a stage of a piece, what is done of it and what it has in all."""

        def show(stage: str, done: int, total: int) -> None:
            if self._on_terminal:
                print(f"\r\x1b[K{piece}: {stage} {done}/{total}", end="", file=sys.stderr, flush=True)

        return show

    def done(self, piece: str, outcome: str) -> None:
        """A piece is done."""
        self._done += 1
        start = "\r\x1b[K" if self._on_terminal else ""
        left = f"{self._left} {self._pieces - self._done} left".strip()
        print(f"{start}{piece}: {outcome}; {left}", file=sys.stderr, flush=True)
