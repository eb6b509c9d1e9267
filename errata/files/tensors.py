"""Store tensors so that a crash leaves either the old file or the new one, and at most a scratch file beside it."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from errata.files import durable

STALE_AFTER_S = 86_400.0  # by then nobody is writing a scratch file any more


def store(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Put tensors at `path` as safetensors, replacing what is there, and wait until they are on the disk.

    Several processes may do so at once: the last one's file stays, whole.
    """
    scratch = durable.scratch_beside(path)
    try:
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, scratch, metadata=dict(metadata))
        durable.sync(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    durable.sync(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove the scratch files of processes that were killed in the middle of `store`.

    Only those older than a day: a younger one may be another process's, which is at work.
    """
    for scratch in folder.glob(".*.safetensors.*"):
        with suppress(FileNotFoundError):  # another process removes them as well
            if time.time() - scratch.stat().st_mtime > STALE_AFTER_S:
                scratch.unlink()
