"""Collect second moments from a corpus.

Sequences are packed. One pass serves all layers and runs only the blocks up to the last of them. The state is stored as
it goes, so that a run that was killed continues where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from errata.errors import StatisticsError
from errata.files.tensors import checksum_fits, store
from errata.model import EditableModel

SEQUENCE_TOKENS = 128
SEQUENCES_PER_BATCH = 32
CHECKPOINT_EVERY_S = 300.0  # storing GPT-J's takes seconds: its state is 6.4 GB

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a stored second moment."""

    layer: int
    count: int  # key vectors that were seen
    corpus_sha256: str | None  # of the token ids that were read; None where it was published
    model_digest: str
    published: str | None = None  # the file that it was published in; None where it was collected here


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The stored state of a collection: sums over its first batches."""

    path: Path
    layers: frozenset[int]
    batches: int
    count: int  # key vectors in them
    corpus_sha256: str  # of their token ids
    model_digest: str

    @classmethod
    def read(cls, path: Path) -> Checkpoint | None:
        """Read all but the sums themselves. Return None if the file is damaged, which counts as missing."""
        try:
            with safe_open(path, framework="pt") as state:
                metadata = state.metadata() or {}
                return cls(
                    path=path,
                    layers=frozenset(int(name) for name in state.keys()),  # noqa: SIM118 - safe_open is not iterable
                    batches=int(metadata["batches"]),
                    count=int(metadata["count"]),
                    corpus_sha256=metadata["corpus_sha256"],
                    model_digest=metadata["model_digest"],
                )
        except (OSError, SafetensorError, KeyError, ValueError):
            return None


def checkpoint_files(folder: Path) -> list[Path]:
    """List the stored states of the collections that were begun in `folder`."""
    return sorted(folder.glob("collecting-*.safetensors"))


class Collection:
    """One run over a corpus: the sum of k k^T of each layer, and the number of key vectors.

    Products and sums are float32, which leaves C off by 4.5e-7 of its norm after 40 batches of the demo model's keys
    and 7.0e-7 after 100. (It grows with the root of the batches; the products alone are off by 1.3e-7.) Sums in float64
    would take twice the memory: 12.9 GB for GPT-J's six layers.
    """

    def __init__(
        self,
        model: EditableModel,
        layers: Sequence[int],
        folder: Path,
        tell: Callable[[str], None] = logger.warning,
    ) -> None:
        """`tell` is told of each damaged checkpoint, which counts as missing."""
        self._model = model
        self._tell = tell
        self._layers = tuple(layers)
        self._folder = folder
        self._batches_done = 0
        self._batches_stored = 0
        self._count = 0
        self._corpus_digest = hashlib.sha256()
        self._sums: dict[int, Tensor] = {}

    def run(
        self, corpus: Iterable[str], num_samples: int, on_progress: Callable[[int, int], None]
    ) -> Iterator[tuple[Origin, Tensor]]:
        """Read as much of `corpus` as gives `num_samples` key vectors; yield C of each layer, (d_in, d_in), float32.

        It goes on from the furthest checkpoint in the folder that has all its layers. Its own it leaves there, complete
        before the first second moment is yielded, for the caller to remove when all of them are stored.

        Raises:
            StatisticsError: the corpus is too short, or not the one, or not the model, that the run was begun with.
        """
        batches = packed(self._model, corpus, SEQUENCES_PER_BATCH, min(SEQUENCE_TOKENS, self._model.max_length))
        self._resume(batches)
        stored_at = time.monotonic()
        while self._count < num_samples:
            batch = next(batches, None)
            if batch is None:
                raise StatisticsError(f"the corpus gives {self._count} key vectors where {num_samples} are asked for")
            self._corpus_digest.update(batch.numpy().tobytes())
            self._add(batch.to(self._model.device))
            self._batches_done += 1
            on_progress(min(self._count, num_samples), num_samples)
            if time.monotonic() - stored_at >= CHECKPOINT_EVERY_S:
                self._store_checkpoint()
                stored_at = time.monotonic()
        if self._batches_done > self._batches_stored:
            self._store_checkpoint()
        for layer in self._layers:
            origin = Origin(layer, self._count, self._corpus_digest.hexdigest(), self._model.digest)
            yield origin, self._sums.pop(layer).div_(self._count)

    @torch.no_grad()
    def _add(self, token_ids: Tensor) -> None:
        """Add every position of a batch of full sequences, (sequences, tokens)."""
        with ExitStack() as hooks:
            for layer in self._layers:
                read = partial(self._add_keys, layer)
                hooks.enter_context(self._model.down_projection(layer).register_forward_pre_hook(read))
            self._model.run(0, max(self._layers) + 1, self._model.embed(token_ids))
        self._count += token_ids.numel()

    def _add_keys(self, layer: int, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        flat = inputs[0].flatten(end_dim=-2).float()  # (positions, d_in)
        if layer not in self._sums:
            self._sums[layer] = flat.new_zeros(flat.shape[1], flat.shape[1])
        self._sums[layer].addmm_(flat.T, flat)

    def _store_checkpoint(self) -> None:
        metadata = {
            "model_digest": self._model.digest,
            "batches": str(self._batches_done),
            "count": str(self._count),
            "corpus_sha256": self._corpus_digest.hexdigest(),
        }
        path = self._folder / f"collecting-{'-'.join(map(str, self._layers))}.safetensors"
        store(path, {str(layer): total for layer, total in self._sums.items()}, metadata)
        self._batches_stored = self._batches_done

    def _resume(self, batches: Iterator[Tensor]) -> None:
        """Load the furthest stored state that has all layers, if any, and skip the batches that it holds."""
        usable = []
        for path in checkpoint_files(self._folder):
            begun = Checkpoint.read(path)
            if begun is None or checksum_fits(path) is False:
                self._tell(f"{path} is damaged; what it held is collected again")
            elif begun.layers.issuperset(self._layers):
                usable.append(begun)
        if not usable:
            return
        begun = max(usable, key=lambda begun: begun.batches)
        if begun.model_digest != self._model.digest:
            raise StatisticsError(f"{begun.path} was begun with another model; remove it to begin anew")
        for batch in itertools.islice(batches, begun.batches):
            self._corpus_digest.update(batch.numpy().tobytes())
        if self._corpus_digest.hexdigest() != begun.corpus_sha256:
            raise StatisticsError(
                f"the corpus is not the one that {begun.path} was begun with; remove it to begin anew"
            )
        with safe_open(begun.path, framework="pt") as state:
            self._sums = {
                layer: state.get_tensor(str(layer)).to(self._model.weight(layer).device) for layer in self._layers
            }
        self._batches_done = self._batches_stored = begun.batches
        self._count = begun.count


def packed(model: EditableModel, corpus: Iterable[str], sequences: int, tokens: int) -> Iterator[Tensor]:
    """Join documents by the end-of-text token and cut them into batches of full sequences, (sequences, tokens)."""
    size = sequences * tokens
    separator = model.tokenizer.eos_token_id
    pending: list[int] = []
    for document in corpus:
        pending += model.tokenizer(document)["input_ids"]
        if separator is not None:
            pending.append(separator)
        while len(pending) >= size:
            yield torch.tensor(pending[:size]).view(sequences, tokens)
            del pending[:size]
