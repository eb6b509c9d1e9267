"""The base model and its second moments, for commands that edit or measure it without a service. Imports torch."""

import sys
from collections.abc import Callable

import torch
from errata_registry.settings import Settings

from errata.hyperparameters import Hyperparameters
from errata.model import EditableModel
from errata.second_moments import SecondMoments
from errata.second_moments.home import home_moments


def load_model(settings: Settings) -> EditableModel:
    """Load the base model that the settings name. Raises `ModelError`."""
    return EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)


def moments_by_need(settings: Settings, model: EditableModel) -> Callable[[Hyperparameters], SecondMoments]:
    """Return a function that gives the second moments that hyperparameters need.

    Those that the home folder does not hold are collected at the first call that needs them, which raises as
    `home_moments` does.
    """
    ready: dict[tuple[str, tuple[int, ...], object], SecondMoments] = {}

    def second_moments(wanted: Hyperparameters) -> SecondMoments:
        need = wanted.method, wanted.layers, getattr(wanted, "num_samples", None)
        if need not in ready:
            ready[need] = home_moments(
                settings.home,
                model,
                wanted,
                corpus=settings.corpus,
                published=settings.published_moments,
                on_progress=_show,
            )
        return ready[need]

    return second_moments


def _show(done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    print(f"\rcollecting second moments: {done} of {total} key vectors", end=end, file=sys.stderr, flush=True)
