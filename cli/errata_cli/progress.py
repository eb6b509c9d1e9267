"""What a long command shows of its progress on standard error."""

import sys
from collections.abc import Callable


def count_of(noun: str) -> Callable[[int, int], None]:
    """Return a function that shows, in a line that it rewrites, how many are done of how many."""

    def show(done: int, total: int) -> None:
        print(f"{done}/{total} {noun}", end="\n" if done == total else "\r", file=sys.stderr, flush=True)

    return show


class Progress:
    """A line for each piece that is done; on a terminal, a line for the stage of the present one, too."""

    def __init__(self, pieces: int, done: int = 0, *, at_most: bool = False) -> None:
        """Some pieces may be done already. With `at_most`, there may be fewer in the end."""
        self._pieces = pieces
        self._done = done
        self._left = "at most" if at_most else ""
        self._on_terminal = sys.stderr.isatty()

    def within(self, piece: str) -> Callable[[str, int, int], None]:
        """Return a function that shows a stage of the piece, and how much of the stage is done of how much."""

        def show(stage: str, done: int, total: int) -> None:
            if self._on_terminal:
                print(f"\r\x1b[K{piece}: {stage} {done}/{total}", end="", file=sys.stderr, flush=True)

        return show

    def done(self, piece: str, outcome: str) -> None:
        """Show that a piece is done, and how many are left."""
        self._done += 1
        start = "\r\x1b[K" if self._on_terminal else ""
        left = f"{self._left} {self._pieces - self._done} left".strip()
        print(f"{start}{piece}: {outcome}; {left}", file=sys.stderr, flush=True)
