"""Second moments: C = E[k k^T], uncentred, of the keys that enter each edited MLP down-projection.

They belong to a base model and say which directions its ordinary text uses, so that an update leaves those
alone (Eq. 13 of the MEMIT paper). Beside each lies its Cholesky factor, computed once, which every solve uses, and its
eigenvectors, where a method has asked for them; and G, the second moment of gradients, where a refinement has.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from errata.errors import StatisticsError
from errata.files.tensors import Checks, remove_leftovers, store
from errata.model import EditableModel
from errata.second_moments.collection import Checkpoint, Collection, Origin, checkpoint_files
from errata.second_moments.gradients import collect_gradients
from errata.second_moments.published import published_moments

SAMPLES_PER_DIMENSION = 10  # about 95 % of the quality of far more (arXiv 2506.04226); docs/method.md has ours

logger = logging.getLogger(__name__)


def key_vectors_for(model: EditableModel, layers: Sequence[int], num_samples: int | None) -> int:
    """Return the number of key vectors to collect. `num_samples` of None means ten for each dimension of a key."""
    return SAMPLES_PER_DIMENSION * model.weight(layers[0]).shape[1] if num_samples is None else num_samples


class SecondMoments:
    """The second moment of each layer, read from a folder that belongs to one base model.

    A file is checked when it is first used, and again when it has changed. What was computed from a second moment
    and is damaged is computed again.
    """

    def __init__(
        self, folder: Path, checks: Checks | None = None, tell: Callable[[str], None] = logger.warning
    ) -> None:
        """Open what is there, as it is.

        Args:
            checks: what of the folder was found whole before.
            tell: told of each damaged file.
        """
        self.folder = folder  # what else is kept of the model for its edits lies there, too
        self._checks = checks or Checks()
        self._tell = tell

    @classmethod
    def open(
        cls,
        model: EditableModel,
        layers: Sequence[int],
        num_samples: int | None,
        *,
        folder: Path,
        corpus: Iterable[str] | None,
        published: Path | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        checks: Checks | None = None,
        tell: Callable[[str], None] = logger.warning,
    ) -> SecondMoments:
        """Open the second moments in `folder`, after adding what it lacks: published ones, or collected ones.

        A layer lacks its second moment where `published` has another one of it, and, where `published` has none,
        where there is none from at least `num_samples` key vectors. A damaged one counts as missing.

        Args:
            num_samples: key vectors to collect; None for ten for each dimension of a key.
            corpus: documents, the same in the same order each time; None where nothing may be collected.
            published: folder with the files of MEMIT's authors (see `errata.second_moments.published`).
            on_progress: called with (key vectors seen, key vectors to see).
            checks, tell: as `__init__`.

        Raises:
            StatisticsError: the folder holds another model's, a published file cannot be used, or some are missing
                and there is no corpus, or too short a one.
        """
        checks = checks or Checks()
        damaged = checks.damaged(moment_file(folder, layer) for layer in layers)
        for path in damaged:
            tell(f"{path} is damaged; this second moment is made anew")
        whole = [layer for layer in layers if moment_file(folder, layer) not in damaged]
        there = {origin.layer: origin for origin in stored_origins(folder, whole)}
        if any(origin.model_digest != model.digest for origin in there.values()):
            raise StatisticsError(f"{folder} holds the second moments of another model than {model.name}")
        given = published_moments(model, layers, published) if published else []
        num_samples = key_vectors_for(model, layers, num_samples)
        enough = {layer for layer, origin in there.items() if origin.count >= num_samples}
        missing = [layer for layer in layers if layer not in enough | {moment.layer for moment in given}]
        if missing and corpus is None:
            raise StatisticsError(
                f"{folder} has no second moments of {model.name} from {num_samples} key vectors for layers "
                f"{missing}, and there is no corpus to collect them from (ERRATA_CORPUS names one)"
            )

        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        for moment in given:
            if moment.layer not in there or there[moment.layer].published != moment.name:
                origin = Origin(moment.layer, moment.count, None, model.digest, published=moment.name)
                _store_moment(folder, moment.read(), origin)
        if missing and corpus is not None:
            for origin, collected in Collection(model, missing, folder, tell).run(corpus, num_samples, on_progress):
                _store_moment(folder, collected, origin)
        _remove_stale_checkpoints(folder)
        return cls(folder, checks, tell)

    def moment(self, layer: int) -> Tensor:
        """Return C of one layer, (d_in, d_in), float32, mapped from its file. Raises `StatisticsError`."""
        path = moment_file(self.folder, layer)
        if self._checks.damaged([path]):
            raise StatisticsError(f"{path} is damaged; remove it to make it anew")
        try:
            with safe_open(path, framework="pt") as stored:
                moment: Tensor = stored.get_tensor("second_moment")
        except (OSError, SafetensorError) as error:
            raise StatisticsError(f"{path} cannot be read: {error}") from error
        return moment

    def factor(self, layer: int, device: torch.device | str = "cpu") -> Tensor | None:
        """Return the Cholesky factor of C: lower triangular L with C = L L^T, (d_in, d_in), float64.

        It is computed when it is first asked for, and read from its file from then on (mapped, on the CPU).
        None where C is not positive definite.

        Raises:
            StatisticsError: there is no second moment of this layer.
        """
        with safe_open(self._factor_file(layer, device), framework="pt") as stored:
            transposed: Tensor = stored.get_tensor("factor_transposed").to(device)
        return transposed.T if transposed.numel() else None

    def required_factor(self, layer: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the factor as `factor` does. Raises `StatisticsError` also if C is not positive definite."""
        if (factor := self.factor(layer, device)) is None:
            raise StatisticsError(
                f"the second moment of layer {layer} is not positive definite: it is of too few key vectors"
            )
        return factor

    def compute_factors(self, layers: Iterable[int], model: EditableModel) -> None:
        """Compute the factors of `layers` that are not stored yet, or damaged, ahead of the first edit.

        Each is computed on the device of its block.
        """
        layers = tuple(layers)
        self._checks.damaged(self._derived_file(layer, "cholesky") for layer in layers)  # which reads them at once
        for layer in layers:
            self._factor_file(layer, model.weight(layer).device)

    def eigenvectors(self, layer: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return the eigenvalues of C, ascending, (d_in,), and its eigenvectors, as columns, (d_in, d_in), float64.

        They are computed when they are first asked for, and read from their file from then on (mapped, on the CPU).

        Raises:
            StatisticsError: there is no second moment of this layer.
        """
        path = self._derived(layer, "eigenvectors", _eigenvectors, device)
        with safe_open(path, framework="pt") as stored:
            transposed: Tensor = stored.get_tensor("eigenvectors_transposed").to(device)
            return stored.get_tensor("eigenvalues").to(device), transposed.T

    def gradients(self, layer: int, device: torch.device | str = "cpu") -> Tensor:
        """Return G of one layer (`errata.second_moments.gradients`), (d_model, d_model), float32.

        Raises:
            StatisticsError: it is not there; `collect_gradients` makes it.
        """
        path = gradients_file(self.folder, layer)
        try:
            with safe_open(path, framework="pt") as stored:
                found: Tensor = stored.get_tensor("gradients").to(device)
        except (OSError, SafetensorError) as error:
            raise StatisticsError(f"{path} cannot be read: {error}") from error
        return found

    def collect_gradients(
        self,
        layers: Iterable[int],
        model: EditableModel,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Collect G of the layers that have none yet, or a damaged one.

        Args:
            on_progress: called with (positions seen, positions to see). What it raises ends the collection.

        Raises:
            StatisticsError: see `errata.second_moments.gradients`.
        """
        files = {layer: gradients_file(self.folder, layer) for layer in layers}
        damaged = self._checks.damaged(files.values())
        for path in damaged:
            self._tell(f"{path} is damaged; it is collected anew")
        missing = [layer for layer, path in files.items() if path in damaged or not path.exists()]
        if missing:
            for layer, collected in collect_gradients(model, missing, on_progress).items():
                store(files[layer], {"gradients": collected}, {"model_digest": model.digest})

    def _factor_file(self, layer: int, device: torch.device | str) -> Path:
        return self._derived(layer, "cholesky", _factor, device)

    def _derived(
        self, layer: int, name: str, compute: Callable[[Tensor], dict[str, Tensor]], device: torch.device | str
    ) -> Path:
        """Return the file of what `compute` makes of C, float64; make it if it is missing, damaged or of another C."""
        path = self._derived_file(layer, name)
        # A digest of all that the second moment's file says of itself tells what was computed from it.
        about = json.dumps(_metadata(self.folder, layer), sort_keys=True)
        identity = hashlib.sha256(about.encode()).hexdigest()
        if self._checks.damaged([path]):
            self._tell(f"{path} is damaged; it is computed again from the second moment")
        else:
            with suppress(OSError, SafetensorError), safe_open(path, framework="pt") as stored:
                if (stored.metadata() or {}).get("moment") == identity:
                    return path
        store(path, compute(self.moment(layer).to(device).double()), {"moment": identity})
        return path

    def _derived_file(self, layer: int, name: str) -> Path:
        return self.folder / f"layer_{layer}.{name}.safetensors"


def _factor(moment: Tensor) -> dict[str, Tensor]:
    factor = factor_in_place(moment)
    return {"factor_transposed": moment.new_empty(0) if factor is None else factor.T}


def _eigenvectors(moment: Tensor) -> dict[str, Tensor]:
    values, vectors = torch.linalg.eigh(moment)
    return {"eigenvalues": values, "eigenvectors_transposed": vectors.T}


def factor_in_place(matrix: Tensor) -> Tensor | None:
    """Return the lower triangular L with matrix = L L^T, in `matrix`'s memory; None if not positive definite.

    Args:
        matrix: symmetric, (n, n), contiguous. What it holds is lost: GPT-J's takes 2.1 GB in float64, and a second copy
            as much.
    """
    # The transpose of a symmetric matrix is the matrix itself, and column-major, as LAPACK takes it.
    transposed = matrix.T
    failed = torch.empty(0, dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(transposed, out=(transposed, failed))
    return None if int(failed) else transposed


def stored_origins(folder: Path, layers: Sequence[int]) -> list[Origin]:
    """Return the origin of each layer's second moment, for the layers that have one in `folder`.

    Raises:
        StatisticsError: a file cannot be read.
    """
    return [_origin(folder, layer) for layer in layers if moment_file(folder, layer).exists()]


def _origin(folder: Path, layer: int) -> Origin:
    metadata = _metadata(folder, layer)
    try:
        return Origin(
            layer=layer,
            count=int(metadata["count"]),
            corpus_sha256=metadata.get("corpus_sha256"),
            model_digest=metadata["model_digest"],
            published=metadata.get("published"),
        )
    except (KeyError, ValueError) as error:
        raise StatisticsError(
            f"{moment_file(folder, layer)} does not say what it was made from ({error!r}); remove it to make it anew"
        ) from error


def _metadata(folder: Path, layer: int) -> dict[str, str]:
    path = moment_file(folder, layer)
    try:
        with safe_open(path, framework="pt") as stored:
            return stored.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise StatisticsError(f"{path} cannot be read ({error}); remove it to make it anew") from error


def _store_moment(folder: Path, moment: Tensor, origin: Origin) -> None:
    known = {name: str(value) for name, value in asdict(origin).items() if value is not None}
    store(moment_file(folder, origin.layer), {"second_moment": moment}, known)


def _remove_stale_checkpoints(folder: Path) -> None:
    """Remove checkpoints that are damaged, or whose layers are all stored from as many key vectors or more."""
    for path in checkpoint_files(folder):
        begun = Checkpoint.read(path)
        layers = sorted(begun.layers) if begun else []
        counts = {origin.layer: origin.count for origin in stored_origins(folder, layers)}
        if begun is None or all(counts.get(layer, 0) >= begun.count for layer in layers):
            path.unlink(missing_ok=True)


def moment_file(folder: Path, layer: int) -> Path:
    """Return where a folder has the second moment of a layer."""
    return folder / f"layer_{layer}.safetensors"


def gradients_file(folder: Path, layer: int) -> Path:
    """Return where a folder has G of a layer."""
    return folder / f"layer_{layer}.gradients.safetensors"
