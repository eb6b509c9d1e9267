"""The command line of a benchmark: its arguments, and its results as a table in Markdown."""

from __future__ import annotations

import argparse

import torch


def parser_for(description: str | None, *, threads: int | None = 2) -> argparse.ArgumentParser:
    """Return a parser that shows a module's docstring, and has `--threads` unless `threads`, its default, is None."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads, help="CPU cores to use")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments; set PyTorch's number of threads if they name one."""
    arguments = parser.parse_args()
    if "threads" in arguments:
        torch.set_num_threads(arguments.threads)
    return arguments


def numbers(text: str) -> list[int]:
    """Read numbers such as `0,1,2`; an argument's type."""
    return [int(number) for number in text.split(",")]


def print_header(*titles: str) -> None:
    """Begin a table."""
    print_row(*titles)
    print_row(*["---"] * len(titles))


def print_row(*cells: object) -> None:
    """Print a row of a table at once, so that a long benchmark shows how far it is."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
