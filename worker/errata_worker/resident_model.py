"""What a worker holds from its start to its end: the base model and what its edits need."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from errata_registry.commits import Commits
from errata_registry.settings import Settings

from errata import hyperparameters
from errata.checkpoint.folder import read_config
from errata.errors import CorruptArtifact, DeviceFailed, InvalidHyperparameters
from errata.files.tensors import Checks
from errata.hyperparameters import Hyperparameters, MemitHyperparameters, MomentHyperparameters
from errata.model import EditableModel
from errata.model.likelihood import require_device
from errata.second_moments import SecondMoments
from errata.second_moments.home import home_moments, moments_folder
from errata.second_moments.moments import gradients_file, moment_file

LOG_EVERY_SHARE = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """The base model and how it is edited. Edits leave it as it is, bit for bit.

    Attributes:
        hyperparameters: the defaults of each method that there are any for.
        commits: how what is made once for all machines gets to them.
        checks: which of the second moments' files were found whole, so that no build goes through them again.
        damage: what was found damaged and is made again, and no job's followers were told of yet.
    """

    settings: Settings
    model: EditableModel
    hyperparameters: Mapping[str, Hyperparameters]
    commits: Commits
    checks: Checks = field(default_factory=Checks)
    damage: deque[str] = field(default_factory=deque)

    @classmethod
    def load(cls, settings: Settings, commits: Commits) -> ResidentModel:
        """Load the model that the settings name.

        Raises:
            ModelError: it cannot be loaded.
            InvalidHyperparameters: the settings' file of hyperparameters cannot be used.
        """
        defaults = hyperparameters.known_for(settings.model, settings.hyperparameters, read_config(settings.model))
        for method, default in defaults.items():
            logger.info("%s: hyperparameters %s (%s)", method, default.basis.value, default.source)
        known = {method: default.hyperparameters for method, default in defaults.items()}
        model = EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
        return cls(settings, model, known, commits)

    def defaults(self, method: str) -> Hyperparameters:
        """Return what a method edits this model with by default. Raises `InvalidHyperparameters` if that is unknown."""
        if method not in self.hyperparameters:
            raise InvalidHyperparameters("method", hyperparameters.unknown_to(method, self.hyperparameters))
        return self.hyperparameters[method]

    def is_device_lost(self) -> bool:
        """Return True if the device does not even run a token."""
        try:
            require_device(self.model)
        except DeviceFailed:
            return True
        return False

    def prepare(self) -> tuple[int, ...]:
        """Make the second moments that MEMIT, an edit's method by default, needs; return their layers.

        Those of other methods are made for the first edit that asks for them. Raises as `second_moments`.
        """
        wanted = self.hyperparameters.get(MemitHyperparameters.method)
        if wanted is None:
            return ()
        self.second_moments(wanted)
        return wanted.layers

    def second_moments(
        self, wanted: Hyperparameters, on_progress: Callable[[int, int], None] | None = None
    ) -> SecondMoments:
        """Return the second moments that `wanted` asks for, as `home_moments`, which says what is raised.

        Args:
            on_progress: called with (key vectors seen, key vectors to see) while they are collected; what it
                raises ends the collection, which goes on from its last checkpoint another time.
        """
        files = self._moment_files(wanted)
        self._fetch(files)
        second_moments = home_moments(
            self.settings.home,
            self.model,
            wanted,
            corpus=self.settings.corpus,
            published=self.settings.published_moments,
            on_progress=on_progress or _log_progress(),
            checks=self.checks,
            tell=self.note_damage,
        )
        try:
            for path in files:
                self.commits.share(path)
        except OSError as error:
            logger.warning("the second moments are shared later: %s", error)
        return second_moments

    def _fetch(self, files: Sequence[Path]) -> None:
        """Fetch what another machine has made, also in place of what is damaged here."""
        if self.commits.shares_a_folder:
            return
        for path in self.checks.damaged(files):
            if self.commits.size(path):
                self.note_damage(f"{path} is damaged; the one that was shared takes its place")
                path.unlink(missing_ok=True)
        for path in files:
            try:
                self.commits.fetch(path)
            except CorruptArtifact as error:
                logger.warning("a second moment that was shared is damaged, and is made anew here: %s", error)

    def _moment_files(self, wanted: Hyperparameters) -> list[Path]:
        if not isinstance(wanted, MomentHyperparameters):
            return []
        folder = moments_folder(self.settings.home, self.model)
        files = [moment_file(folder, layer) for layer in wanted.layers]
        if isinstance(wanted, MemitHyperparameters) and wanted.refinement_steps:
            files += [gradients_file(folder, layer) for layer in wanted.layers]
        return files

    def note_damage(self, message: str) -> None:
        """Log that a file is damaged and made again, and keep it for those who follow the job at hand, or the next."""
        logger.warning("%s", message)
        self.damage.append(message)


def _log_progress() -> Callable[[int, int], None]:
    """Log a collection at each tenth of its way."""
    logged = 0.0

    def log(done: int, total: int) -> None:
        nonlocal logged
        if done / total >= logged + LOG_EVERY_SHARE or done == total:
            logged = done / total
            logger.info("collecting second moments: %d of %d key vectors", done, total)

    return log
