"""A base model with the second moments of the home folder, for commands that edit it without a service."""

from __future__ import annotations

import sys

import torch
from errata_registry.settings import Settings

from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.home import home_moments


class Workshop:
    """The model that the settings name."""

    def __init__(self, settings: Settings) -> None:
        """Load the model. Raises `ModelError`."""
        self.model = EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
        self._settings = settings
        self._ready: dict[tuple[str, tuple[int, ...], object], SecondMoments] = {}

    def second_moments(self, wanted: Hyperparameters) -> SecondMoments:
        """Those that `wanted` asks for, made in the home folder where they are not there.

        Raises:
            InvalidHyperparameters, StatisticsError: as `home_moments`.
        """
        asked = wanted.method, wanted.layers, getattr(wanted, "num_samples", None)
        if asked not in self._ready:
            self._ready[asked] = home_moments(
                self._settings.home,
                self.model,
                wanted,
                corpus=self._settings.corpus,
                published=self._settings.published_moments,
                on_progress=_show,
            )
        return self._ready[asked]


def _show(done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    print(f"\rcollecting second moments: {done} of {total} key vectors", end=end, file=sys.stderr, flush=True)
