"""The second moments in a home folder: made once for a base model, and used by all edits of it there."""

import logging
from collections.abc import Callable
from pathlib import Path

from errata.files.lock import Lock
from errata.files.tensors import Checks
from errata.hyperparameters import Hyperparameters, MemitHyperparameters, MomentHyperparameters
from errata.model import EditableModel
from errata.second_moments.corpora import corpus_for
from errata.second_moments.default_text import default_text
from errata.second_moments.moments import SecondMoments

logger = logging.getLogger(__name__)


def moments_folder(home: Path, model: EditableModel) -> Path:
    """Return the folder in which a home folder keeps the second moments of a model."""
    return home / "second_moments" / model.digest


def home_moments(
    home: Path,
    model: EditableModel,
    wanted: Hyperparameters,
    *,
    corpus: Path | None,
    published: Path | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    checks: Checks | None = None,
    tell: Callable[[str], None] = logger.warning,
) -> SecondMoments:
    """Return the second moments that `wanted` asks for, with their factors; none if its method uses none.

    What is not in the home folder is made first: taken from published files, or collected, and factored. Of several
    processes that want them, one makes them and the others wait.

    Args:
        corpus: text file, or folder of .txt files; None for the demo model's own, and else `default_text`.
        published: folder with the files of MEMIT's authors.
        on_progress: called with (key vectors seen, key vectors to see) while they are collected; what it raises ends
            the collection, which goes on from its last checkpoint another time.
        checks: what was found whole before; None to read all of it through.
        tell: told of each damaged file. What it held is made again.

    Raises:
        InvalidHyperparameters: a layer that the model does not have.
        StatisticsError: a published file cannot be used, or the corpus to collect them from is missing or too short.
    """
    model.require_editable(wanted.layers)
    folder = moments_folder(home, model)
    if not isinstance(wanted, MomentHyperparameters):
        return SecondMoments(folder, checks, tell)
    folder.mkdir(parents=True, exist_ok=True)
    texts = corpus_for(model.name, corpus)
    if texts is None:
        words, texts = default_text(model)
        logger.info("second moments that are missing are collected from %s", words)
    with Lock(folder / "lock").held():
        second_moments = SecondMoments.open(
            model,
            wanted.layers,
            wanted.num_samples,
            folder=folder,
            corpus=texts,
            published=published,
            on_progress=on_progress,
            checks=checks,
            tell=tell,
        )
        second_moments.compute_factors(wanted.layers, model)
        if isinstance(wanted, MemitHyperparameters) and wanted.refinement_steps:
            second_moments.collect_gradients(wanted.layers, model, on_progress)
        return second_moments
