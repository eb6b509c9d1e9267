"""Second moments: C = E[k k^T], uncentred, of the keys that enter each edited MLP down-projection.

They belong to a base model and say which directions its ordinary text uses, so that an update leaves those
alone (Eq. 13 of the MEMIT paper). They are collected once from a corpus: packed sequences, one pass for all
layers, only the blocks up to the last layer, and the state is stored as it goes, so that a run that was
killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from errata.errors import StatisticsError
from errata.model import EditableModel

SEQUENCE_TOKENS = 128
SEQUENCES_PER_BATCH = 32
BATCHES_PER_CHECKPOINT = 50


class SecondMoments:
    """The second moment of each layer, read from a folder that belongs to one base model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def open(
        cls,
        model: EditableModel,
        layers: Sequence[int],
        num_samples: int,
        *,
        folder: Path,
        corpus: Iterable[str] | None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> SecondMoments:
        """Those in `folder`; layers that have none, or one of fewer key vectors, are collected from `corpus` first.

        Args:
            num_samples: key vectors to collect.
            corpus: documents, the same in the same order each time; None where nothing may be collected.
            on_progress: called with (key vectors seen, num_samples).

        Raises:
            StatisticsError: the folder holds another model's, or they are missing and there is no corpus, or too
                short a one.
        """
        there = stored_origins(folder, layers)
        if any(origin.model_digest != model.digest for origin in there):
            raise StatisticsError(f"{folder} holds the second moments of another model than {model.name}")
        enough = {origin.layer for origin in there if origin.count >= num_samples}
        missing = [layer for layer in layers if layer not in enough]
        if missing:
            if corpus is None:
                raise StatisticsError(
                    f"{folder} has no second moments of {model.name} from {num_samples} key vectors for layers "
                    f"{missing}, and there is no corpus to collect them from"
                )
            folder.mkdir(parents=True, exist_ok=True)
            _Collection(model, missing, folder).run(corpus, num_samples, on_progress)
        return cls(folder)

    def moment(self, layer: int) -> Tensor:
        """C of one layer, (d_in, d_in), float32. Raises `StatisticsError`."""
        path = _file(self._folder, layer)
        try:
            with safe_open(path, framework="pt") as tensors:
                moment: Tensor = tensors.get_tensor("second_moment")
        except (OSError, SafetensorError) as error:
            raise StatisticsError(f"{path} cannot be read: {error}") from error
        return moment


@dataclass(frozen=True, slots=True)
class Origin:
    """What a stored second moment was collected from.

    Attributes:
        count: key vectors that were seen.
        corpus_sha256: of the token ids that were read.
        model_digest: of the base model.
    """

    layer: int
    count: int
    corpus_sha256: str
    model_digest: str


def stored_origins(folder: Path, layers: Sequence[int]) -> list[Origin]:
    """The origin of each layer's second moment, of those layers that have one in `folder`.

    Raises:
        StatisticsError: a file cannot be read.
    """
    origins = []
    for layer in layers:
        if (path := _file(folder, layer)).exists():
            try:
                with safe_open(path, framework="pt") as stored:
                    metadata = stored.metadata()
            except (OSError, SafetensorError) as error:
                raise StatisticsError(f"{path} cannot be read ({error}); remove it to collect it anew") from error
            origins.append(Origin(layer, int(metadata["count"]), metadata["corpus_sha256"], metadata["model_digest"]))
    return origins


class _Collection:
    """One run over a corpus: sums of k k^T per layer (products in float32, sums in float64) and their count."""

    def __init__(self, model: EditableModel, layers: Sequence[int], folder: Path) -> None:
        self._model = model
        self._layers = tuple(layers)
        self._checkpoint = folder / f"collecting-{'-'.join(map(str, self._layers))}.safetensors"
        self._folder = folder
        self._batches_done = 0
        self._count = 0
        self._corpus_digest = hashlib.sha256()
        self._sums: dict[int, Tensor] = {}

    def run(self, corpus: Iterable[str], num_samples: int, on_progress: Callable[[int, int], None]) -> None:
        batches = self._batches(corpus)
        if self._checkpoint.exists():
            self._resume(batches)
        for batch in batches:
            if self._count >= num_samples:
                break
            self._corpus_digest.update(batch.numpy().tobytes())
            self._add(batch.to(self._model.device))
            self._batches_done += 1
            on_progress(min(self._count, num_samples), num_samples)
            if self._batches_done % BATCHES_PER_CHECKPOINT == 0:
                self._store_checkpoint()
        if self._count < num_samples:
            raise StatisticsError(f"the corpus gives {self._count} key vectors where {num_samples} are asked for")
        for layer in self._layers:
            moment = (self._sums[layer] / self._count).float()
            metadata = {
                "model": self._model.name,
                "model_digest": self._model.digest,
                "layer": str(layer),
                "count": str(self._count),
                "corpus_sha256": self._corpus_digest.hexdigest(),
            }
            _store(_file(self._folder, layer), {"second_moment": moment.cpu()}, metadata)
        self._checkpoint.unlink(missing_ok=True)

    @torch.no_grad()
    def _add(self, token_ids: Tensor) -> None:
        """Add every position of a batch of full sequences, (sequences, tokens)."""
        hooks = [
            self._model.down_projection(layer).register_forward_pre_hook(
                lambda _, inputs, layer=layer: self._add_keys(layer, inputs[0])
            )
            for layer in self._layers
        ]
        try:
            part = self._model.blocks(0, max(self._layers) + 1)
            part(inputs_embeds=self._model.embed(token_ids), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        self._count += token_ids.numel()

    def _add_keys(self, layer: int, keys: Tensor) -> None:
        flat = keys.flatten(0, 1).float()  # (positions, d_in)
        product = (flat.T @ flat).double()
        self._sums[layer] = self._sums[layer].to(product.device).add_(product) if layer in self._sums else product

    def _batches(self, corpus: Iterable[str]) -> Iterator[Tensor]:
        """Documents joined by the end-of-text token and cut into full sequences, (sequences, tokens)."""
        length = min(SEQUENCE_TOKENS, self._model.max_length)
        size = SEQUENCES_PER_BATCH * length
        separator = self._model.tokenizer.eos_token_id
        pending: list[int] = []
        for document in corpus:
            pending += self._model.tokenizer(document)["input_ids"]
            if separator is not None:
                pending.append(separator)
            while len(pending) >= size:
                yield torch.tensor(pending[:size]).view(SEQUENCES_PER_BATCH, length)
                del pending[:size]

    def _store_checkpoint(self) -> None:
        metadata = {
            "model_digest": self._model.digest,
            "batches": str(self._batches_done),
            "count": str(self._count),
            "corpus_sha256": self._corpus_digest.hexdigest(),
        }
        _store(self._checkpoint, {str(layer): total.cpu() for layer, total in self._sums.items()}, metadata)

    def _resume(self, batches: Iterator[Tensor]) -> None:
        """Take up the stored state and pass over the batches that it holds."""
        try:
            with safe_open(self._checkpoint, framework="pt") as state:
                metadata = state.metadata()
                self._sums = {layer: state.get_tensor(str(layer)) for layer in self._layers}
        except (OSError, SafetensorError) as error:
            raise StatisticsError(f"{self._checkpoint} cannot be read ({error}); remove it to begin anew") from error
        self._batches_done, self._count = int(metadata["batches"]), int(metadata["count"])
        for batch in itertools.islice(batches, self._batches_done):
            self._corpus_digest.update(batch.numpy().tobytes())
        if self._corpus_digest.hexdigest() != metadata["corpus_sha256"]:
            raise StatisticsError(
                f"the corpus is not the one that {self._checkpoint} was begun with; remove it to begin anew"
            )
        if metadata["model_digest"] != self._model.digest:
            raise StatisticsError(f"{self._checkpoint} was begun with another model; remove it to begin anew")


def _file(folder: Path, layer: int) -> Path:
    return folder / f"layer_{layer}.safetensors"


def _store(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(path)
