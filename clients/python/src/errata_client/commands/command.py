"""What a command is, and how it ends."""

import argparse
from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

from errata_client.client import Errata

EXIT_CODES = """\
exit codes:
  0    done
  1    the edit failed, was rejected by its gate or was cancelled; or an evaluation or a trace was
  2    wrong usage, or a file that cannot be read or written: nothing was changed
  3    the service refused the request (4xx)
  4    the service failed (5xx), could not be reached or did not answer as agreed
  130  interrupted; an edit that was waited for goes on
"""


class Exit(IntEnum):
    """What the command's exit code says."""

    DONE = 0
    NO_EDIT = 1
    USAGE = 2
    REFUSED = 3
    NO_SERVICE = 4
    INTERRUPTED = 130


Command: TypeAlias = Callable[[Errata, argparse.Namespace], Exit]

AddCommand: TypeAlias = Callable[[str, Command, str], argparse.ArgumentParser]
"""Adds a command under its name, with what it does in a line; what it gives takes the flags."""
