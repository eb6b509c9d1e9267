"""What a long command shows of itself on the terminal: what is being done, what came of it, and what is left."""

from __future__ import annotations

import sys
from collections.abc import Callable


class Progress:
    """Of a number of pieces, written to standard error; within a piece only where that is a terminal."""

    def __init__(self, pieces: int) -> None:
        """Nothing is done yet."""
        self._pieces = pieces
        self._on_terminal = sys.stderr.isatty()

    def within(self, piece: str) -> Callable[[str, int, int], None]:
        """To be called with a stage of a piece, what is done of it and what it has in all."""

        def show(stage: str, done: int, total: int) -> None:
            if self._on_terminal:
                print(f"\r\x1b[K{piece}: {stage} {done}/{total}", end="", file=sys.stderr, flush=True)

        return show

    def done(self, piece: str, outcome: str, *, left: int) -> None:
        """A piece is done."""
        start = "\r\x1b[K" if self._on_terminal else ""
        number = f"[{self._pieces - left}/{self._pieces}]"
        print(f"{start}{number} {piece}: {outcome}; {left} left", file=sys.stderr, flush=True)
