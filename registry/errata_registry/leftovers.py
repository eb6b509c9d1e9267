"""What processes left in a home folder: what they wrote half, and what is of no use once they are gone."""

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from errata_registry.jobs.kinds import KINDS

AGE_S = 86_400.0  # by then nobody is writing it any more
_SCRATCH = re.compile(r"\..*\.[0-9a-f]{8}|\.tmp\w{6}|\.shards-\w+")  # of errata.files, of safetensors, of shard orders
_NOT_OURS = {"redis", "logs"}


def remove_leftovers(home: Path) -> None:
    """Remove scratch files, drafts, folders of jobs that were never accepted, and adapters of servers that are gone.

    All of them are older than a day. A follower touches the folder of its server's adapters every few seconds.
    """
    for left in (*(home / "tmp").iterdir(), *(home / "adapters").glob("*")):
        _remove_if_old(left)
    for folder, folders, files in os.walk(home):
        at_top = Path(folder) == home
        folders[:] = [name for name in folders if not (at_top and name in _NOT_OURS)]
        for name in filter(_SCRATCH.fullmatch, [*folders, *files]):
            _remove_if_old(Path(folder, name))
    for kind in KINDS:
        for job in (home / f"{kind.name}s").iterdir():
            if _is_old(job):
                with suppress(OSError):  # it is not empty, as nearly all are
                    job.rmdir()


def _remove_if_old(path: Path) -> None:
    if _is_old(path):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    try:
        return path.lstat().st_mtime < time.time() - AGE_S
    except FileNotFoundError:  # another process removes leftovers as well
        return False
