"""`python -m errata_cli.parent_watchdog PARENT MODULE`: run a module, and end once the process PARENT is gone.

On Linux, a child is asked to end when its parent dies (`processes.start`). This is for one that is too busy to do so,
or waits for a Redis that died with the same parent.
"""

import os
import runpy
import sys
import threading
import time

LOOK_EVERY_S = 0.5
GRACE_S = 10.0


def main() -> None:
    """Run the module, while a thread watches the parent."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    del sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
