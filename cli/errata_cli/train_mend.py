"""`errata train-mend`: train the network that MEND edits a base model with, and keep it in the home folder."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from errata_registry.settings import Settings

from errata.demo import DEMO
from errata.demo.training_facts import training_facts
from errata.demo.world import load_world
from errata.errors import InvalidFacts, InvalidHyperparameters, StatisticsError
from errata.evaluation import read_records
from errata.facts import Fact
from errata.hyperparameters import MendHyperparameters, for_model, unknown_to
from errata.methods.mend.network import FILE_NAME
from errata.methods.mend.training import Losses, Training, TrainingData, as_dict, train
from errata.model import EditableModel
from errata.model.room import require_room
from errata.second_moments.corpora import corpus_for
from errata.second_moments.home import home_moments
from errata.targets.contexts import sample_contexts

SHOWN_EVERY = 50  # steps


def train_mend(arguments: argparse.Namespace, settings: Settings) -> None:
    """Train on what the command line names, or for the demo model on its own world, and store the network.

    Raises:
        ErrataError: the model cannot be loaded, its layers are not known, or there is nothing to learn from.
    """
    known = for_model(settings.model, settings.hyperparameters)
    hyperparameters = MendHyperparameters.for_model(settings.model, settings.hyperparameters)
    if hyperparameters is None:
        raise InvalidHyperparameters("method", unknown_to(MendHyperparameters.method, known))
    facts, texts = _facts(arguments.records, settings), _texts(settings)
    for name in ("num_steps", "facts_per_step"):
        if getattr(arguments, name) < 1:
            raise InvalidHyperparameters(name, f"must be 1 or more, got {getattr(arguments, name)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    training = Training(
        num_steps=arguments.num_steps,
        facts_per_step=arguments.facts_per_step,
        edit_sizes=(1, arguments.facts_per_step),
        seed=arguments.seed,
    )
    model = EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
    contexts = sample_contexts(model, hyperparameters.seed)
    require_room(model, facts, contexts)
    data = TrainingData.of(model, facts, contexts, texts)
    second_moments = home_moments(
        settings.home, model, hyperparameters, corpus=settings.corpus, published=settings.published_moments
    )
    network = train(model, hyperparameters.layers, second_moments, data, training, _shown(training))
    path = arguments.out or second_moments.folder / FILE_NAME
    network.store(path, model.digest, {**as_dict(training), "subjects": len(data.facts)})
    print(f"The network of {model.name} is in {path}")


def _facts(file: Path | None, settings: Settings) -> list[Fact]:
    """Those of a file of records, or of the demo world those that nothing is measured on."""
    if file is None:
        if settings.model != DEMO:
            raise StatisticsError("--records must name what is learnt from; only the demo model brings its own")
        return training_facts(load_world())
    try:
        records: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StatisticsError(f"{file} cannot be read: {error}") from error
    if not isinstance(records, list):
        raise StatisticsError(f"{file} is not a list of records")
    try:
        return [record.fact for record in read_records(records)]
    except InvalidFacts as error:
        raise StatisticsError(f"{file}: {error}") from error


def _texts(settings: Settings) -> list[str]:
    """What is unrelated to the edits. The demo model's own is its world's prose, in which no fact is stated."""
    if settings.model == DEMO and settings.corpus is None:
        return list(load_world().prose)
    corpus = corpus_for(settings.model, settings.corpus)
    if corpus is None:
        raise StatisticsError("--corpus (ERRATA_CORPUS) must name text that the edits are to leave alone")
    return list(corpus)


def _shown(training: Training) -> Callable[[int, Losses], None]:
    """Print the means of the losses, now and then."""
    began = time.monotonic()
    since: list[Losses] = []

    def show(step: int, losses: Losses) -> None:
        since.append(losses)
        if step % SHOWN_EVERY and step < training.num_steps:
            return
        edit, locality = fmean(one.edit for one in since), fmean(one.locality for one in since)
        minutes = (time.monotonic() - began) / 60
        print(
            f"step {step}/{training.num_steps}  edit {edit:.3f}  locality {locality:.4f}  {minutes:.1f} min",
            file=sys.stderr,
            flush=True,
        )
        since.clear()

    return show
