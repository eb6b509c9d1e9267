"""The command line of a benchmark: its arguments, a clock, and its results as a table in Markdown."""

import argparse
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
Clock = Callable[[], float]


def arguments_of(description: str | None, **defaults: Any) -> argparse.Namespace:
    """Parse a `--option` for each default, of the default's type; `--threads` sets PyTorch's number of threads.

    A list stands for numbers with commas between them, a tuple for choices of which the first is the default, a type
    for an option without a default, and False for a flag.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        how: dict[str, Any] = {"default": default, "type": type(default), "help": f"default: {default}"}
        if isinstance(default, list):
            how["type"] = numbers
        elif isinstance(default, tuple):
            how |= {"default": default[0], "type": str, "choices": default, "help": f"default: {default[0]}"}
        elif isinstance(default, type):
            how = {"type": default}
        elif default is False:
            how = {"action": "store_true"}
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    arguments = parser.parse_args()
    if "threads" in arguments:
        torch.set_num_threads(arguments.threads)
    return arguments


def numbers(text: str) -> list[int]:
    """Read numbers such as `0,1,2`."""
    return [int(number) for number in text.split(",")]


def timed(work: Callable[[], Result], clock: Clock = time.perf_counter) -> tuple[float, Result]:
    """Return the seconds on `clock` that `work` takes, and its result."""
    began = clock()
    result = work()
    return clock() - began, result


def print_header(*titles: str) -> None:
    """Begin a table."""
    print_row(*titles)
    print_row(*["---"] * len(titles))


def print_row(*cells: object) -> None:
    """Print a row of a table at once, so that a long benchmark shows how far it is."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
