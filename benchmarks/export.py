"""Streaming a merged checkpoint: how long it takes and what it holds in memory, against the checkpoint's size.

    python -m benchmarks.export [--gib 1,4] [--rank 100]

A GPT-J of few blocks with the width of GPT-J 6B, random weights in bfloat16 and shards of 1 GB, lies in a scratch
folder; the model that exports has no weights in memory, so that what grows is the export's. The archive is read to its
end and thrown away. Beside it: what reading the same files takes.
"""

import resource
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GPTJConfig, GPTJForCausalLM

from benchmarks.command import arguments_of, print_header, print_row, timed
from errata.deltas import ROWS_AT_ONCE, Delta, edited_weight
from errata.demo import MODEL_FOLDER
from errata.export import checkpoint
from errata.export.archive import tar, tar_size
from errata.model import EditableModel

D_MODEL, D_IN = 4096, 16384
BLOCK_BYTES = 2 * (2 * D_MODEL * D_IN + 4 * D_MODEL * D_MODEL)
MIB = 2**20


def main() -> None:
    """Print the table."""
    arguments = arguments_of(__doc__, gib="1,4", rank=100)
    print(f"every block edited, rank {arguments.rank}, {torch.get_num_threads()} threads\n")
    columns = ("blocks", "shards", "checkpoint", "read alone", "exported", "", "peak memory before", "grown by")
    print_header(*columns, "one matrix")
    for gib in arguments.gib.split(","):
        num_blocks = max(1, round(float(gib) * 2**30 / BLOCK_BYTES))
        with tempfile.TemporaryDirectory(prefix="errata-export-") as folder:
            _in_its_own_process(_write_checkpoint, folder, num_blocks)
            _in_its_own_process(_measure, folder, num_blocks, arguments.rank)


def _in_its_own_process(work: Callable[..., None], *arguments: str | int) -> None:
    """Run in a process of its own, so that its peak of memory is its own, too."""
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{work.__name__} failed")


def _config(num_blocks: int) -> GPTJConfig:
    return GPTJConfig(vocab_size=6656, n_layer=num_blocks)


def _write_checkpoint(folder: str, num_blocks: int) -> None:
    torch.set_default_dtype(torch.bfloat16)
    network: Any = GPTJForCausalLM(_config(num_blocks))
    network.save_pretrained(folder, max_shard_size="1GB")
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_FOLDER)
    tokenizer.save_pretrained(folder)


def _measure(name: str, num_blocks: int, rank: int) -> None:
    """Export, and print a row."""
    folder = Path(name)
    with torch.device("meta"):
        network: Any = GPTJForCausalLM(_config(num_blocks))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = EditableModel(network, tokenizer, name="blocks of GPT-J", digest="0" * 64, folder=folder)
    draw = torch.Generator().manual_seed(0)
    deltas = {
        layer: Delta(torch.randn(D_MODEL, rank, generator=draw) * 1e-4, torch.randn(rank, D_IN, generator=draw), rank)
        for layer in range(num_blocks)
    }
    paths = sorted(folder.glob("*.safetensors"))
    reading = _drained(_read(paths))
    _warm_up(deltas[0])
    before = _peak_bytes()
    files = checkpoint.merged(model, deltas)
    seconds = _drained(tar(files))
    grown = _peak_bytes() - before
    size = tar_size(files)
    spent = (f"{reading:.1f} s", f"{seconds:.1f} s", f"{size / MIB / seconds:.0f} MiB/s")
    taken = (f"{num_bytes / MIB:.0f} MiB" for num_bytes in (before, grown, 2 * D_MODEL * D_IN))
    print_row(num_blocks, len(paths), f"{size / MIB:.0f} MiB", *spent, *taken)


def _warm_up(delta: Delta) -> None:
    """Edit a few rows, so that PyTorch has allocated its buffers for matrix products before."""
    assert delta.right is not None
    rows = Delta(delta.left[:ROWS_AT_ONCE], delta.right, delta.rank)
    edited_weight(0, torch.zeros(ROWS_AT_ONCE, D_IN, dtype=torch.bfloat16), rows)


def _read(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(MIB):
                yield piece


def _drained(pieces: Iterable[bytes]) -> float:
    """Return the seconds that it takes to go through all pieces."""
    return timed(lambda: deque(pieces, maxlen=0))[0]


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
