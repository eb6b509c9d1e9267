"""`python -m errata_cli.under_parent PARENT MODULE`: run a module, and end once the process PARENT is gone.

A child hears of its parent's death as of any other request to end (`processes.start`). This is for the one that is
too busy to follow it, or waits for a Redis that died with the same parent.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time

LOOK_EVERY_S = 0.5
GRACE_S = 10.0


def main() -> None:
    """Become the module, watched by a thread."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_end_without, args=(parent,), name="parent", daemon=True).start()
    del sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
