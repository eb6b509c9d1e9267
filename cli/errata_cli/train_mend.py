"""`errata train-mend`: train the network that MEND edits a base model with, and keep it in the home folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from errata.demo.world import load_world
from errata.errors import InvalidFacts, InvalidHyperparameters, StatisticsError
from errata.facts import Fact
from errata.hyperparameters import MendHyperparameters, for_model, unknown_to
from errata_cli.options import Corpus, Home, Model, settings_with_model

if TYPE_CHECKING:
    from errata_registry.settings import Settings

    from errata.methods.mend.training import Losses

SHOWN_EVERY = 50  # steps


def train_mend(
    model: Model = None,
    home: Home = None,
    records: Annotated[Path | None, Option(help="JSON list of records to learn from")] = None,
    corpus: Corpus = None,
    num_steps: Annotated[int, Option(help="updates of the network")] = 600,
    facts_per_step: Annotated[
        int, Option(help="facts edited in one step: one at a time, and in the next step all at once")
    ] = 10,
    seed: Annotated[int, Option(help="of the network's beginning and of what each step edits")] = 0,
    threads: Annotated[int | None, Option(help="CPU cores to use (default: all)")] = None,
    out: Annotated[Path | None, Option(help="file to write (default: beside the model's second moments)")] = None,
) -> None:
    """Train the network that MEND edits a base model with.

    It learns from counterfactual edits (--records: a JSON list in the form of CounterFact or zsRE, with paraphrases and
    neighbours) and from text that edits are to leave alone (--corpus). The demo has its own.
    """
    settings = settings_with_model(model=model, home=home, corpus=corpus)
    known = for_model(settings.model, settings.hyperparameters)
    hyperparameters = MendHyperparameters.for_model(settings.model, settings.hyperparameters)
    if hyperparameters is None:
        raise InvalidHyperparameters("method", unknown_to(MendHyperparameters.method, known))
    for name, value in (("num_steps", num_steps), ("facts_per_step", facts_per_step)):
        if value < 1:
            raise InvalidHyperparameters(name, f"must be 1 or more, got {value}")
    facts, texts = _facts(records, settings), _texts(settings)

    import torch

    from errata.methods.mend.network import FILE_NAME
    from errata.methods.mend.training import Training, TrainingData, train
    from errata.model.room import require_room
    from errata.second_moments.home import home_moments
    from errata.targets.contexts import sample_contexts
    from errata_cli.base_model import load_model

    if threads:
        torch.set_num_threads(threads)
    training = Training(num_steps=num_steps, facts_per_step=facts_per_step, edit_sizes=(1, facts_per_step), seed=seed)
    base = load_model(settings)
    contexts = sample_contexts(base, hyperparameters.seed)
    require_room(base, facts, contexts)
    data = TrainingData.of(base, facts, contexts, texts)
    second_moments = home_moments(
        settings.home, base, hyperparameters, corpus=settings.corpus, published=settings.published_moments
    )
    network = train(base, hyperparameters.layers, second_moments, data, training, _shown(num_steps))
    path = out or second_moments.folder / FILE_NAME
    network.store(path, base.digest, {**asdict(training), "subjects": len(data.facts)})
    print(f"The network of {base.name} is in {path}")


def _facts(file: Path | None, settings: Settings) -> list[Fact]:
    """Return the facts of a file of records, or those of the demo world that nothing is measured on."""
    if file is None:
        from errata.demo import DEMO
        from errata.demo.training_facts import training_facts

        if settings.model != DEMO:
            raise StatisticsError("--records must name what is learnt from; only the demo model brings its own")
        return training_facts(load_world())
    try:
        records: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StatisticsError(f"{file} cannot be read: {error}") from error
    if not isinstance(records, list):
        raise StatisticsError(f"{file} is not a list of records")

    from errata.evaluation import read_records

    try:
        return [record.fact for record in read_records(records)]
    except InvalidFacts as error:
        raise StatisticsError(f"{file}: {error}") from error


def _texts(settings: Settings) -> list[str]:
    """Return text that is unrelated to the edits: for the demo model its world's prose, in which no fact is stated."""
    from errata.demo import DEMO
    from errata.second_moments.corpora import corpus_for

    if settings.model == DEMO and settings.corpus is None:
        return list(load_world().prose)
    corpus = corpus_for(settings.model, settings.corpus)
    if corpus is None:
        raise StatisticsError("--corpus (ERRATA_CORPUS) must name text that the edits are to leave alone")
    return list(corpus)


def _shown(num_steps: int) -> Callable[[int, Losses], None]:
    """Return a function that prints the means of the losses, every `SHOWN_EVERY` steps."""
    began = time.monotonic()
    since: list[Losses] = []

    def show(step: int, losses: Losses) -> None:
        since.append(losses)
        if step % SHOWN_EVERY and step < num_steps:
            return
        edit, locality = fmean(one.edit for one in since), fmean(one.locality for one in since)
        minutes = (time.monotonic() - began) / 60
        print(
            f"step {step}/{num_steps}  edit {edit:.3f}  locality {locality:.4f}  {minutes:.1f} min",
            file=sys.stderr,
            flush=True,
        )
        since.clear()

    return show
