"""Training the network of a base model: edits are made and felt, and it learns what made them better (Section 3.3).

A step makes some edits of one fact or more each, every one on the base by itself. Its loss is

    c_edit * mean over what should follow the edit of -log p_edited(object) / tokens of the object
    + mean over what should not of KL(p_base || p_edited) of each token / tokens

What should follow are each fact's own prompt and one of its paraphrases, one of the two behind a context prefix now and
then; what should not, a neighbour of each fact, a neighbour of a fact of another edit, and a piece of unrelated text.
The gradient's terms are data: what is differentiated is the run of the edited model, through the update to the network.
Adam, with a step size that falls to nothing along a cosine. What a step edits is drawn by its number and the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from errata.errors import NotFinite, StatisticsError
from errata.facts import Fact
from errata.methods.mend.gradient_terms import changing_outputs, gradient_terms, prefixes_of
from errata.methods.mend.network import Factors, MendNetwork, moment_factors
from errata.methods.object_losses import Continuations, Pair
from errata.model import EditableModel
from errata.model.tokens import target_ids
from errata.second_moments import SecondMoments

WINDOW = 14  # tokens of a piece of unrelated text, as long as a short prompt
GIVEN = 2  # how many of them are given before the first that is compared


@dataclass(frozen=True, slots=True)
class Training:
    """Settings of a network's training."""

    num_steps: int = 600  # updates of the network
    facts_per_step: int = 10  # all edits of a step together, some of one fact each, others of several
    edit_sizes: tuple[int, ...] = (1, 10)  # facts of an edit, by turns
    rank: int = 64  # of the network's layers
    learning_rate: float = 2e-3  # Adam's step size
    alpha_rate: float = 0.03  # the same for log alpha
    edit_weight: float = 0.5  # c_edit
    num_warmup_steps: int = 50
    clip_norm: float = 1.0
    prefixed_share: float = 0.2  # of the steps whose prompts may stand behind a context prefix, which makes them long
    num_facts_normalised_by: int = 400
    seed: int = 0


class Losses(NamedTuple):
    """The losses of one step, in nats: means over what should follow the edits, and over what should not."""

    edit: float
    locality: float


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data that a network learns from.

    Facts with one subject and relation are alternatives: one edit never has two of them.
    """

    facts: Mapping[str, Sequence[Fact]]  # by subject, with paraphrases, and neighbours, which must not follow
    contexts: Sequence[str]  # prefixes that may stand before a prompt
    texts: Sequence[Sequence[int]]  # token ids of unrelated texts, each of `WINDOW` tokens at least

    @classmethod
    def of(
        cls, model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str], texts: Sequence[str]
    ) -> TrainingData:
        """Prepare the data. Raises `StatisticsError` if there are no facts or texts to learn from."""
        by_subject: dict[str, list[Fact]] = {}
        for fact in facts:
            if fact.paraphrases and fact.neighbors:
                by_subject.setdefault(fact.subject, []).append(fact)
        token_ids = [model.tokenizer(text)["input_ids"] for text in texts]
        long_enough = [ids for ids in token_ids if len(ids) >= WINDOW]
        if not by_subject or not long_enough:
            raise StatisticsError(
                f"a MEND network is trained on facts with paraphrases and neighbours, and on texts of {WINDOW} tokens "
                f"or more; there are {len(by_subject)} such facts and {len(long_enough)} such texts"
            )
        return cls(by_subject, contexts, long_enough)


def train(
    model: EditableModel,
    layers: Sequence[int],
    second_moments: SecondMoments,
    data: TrainingData,
    training: Training,
    on_step: Callable[[int, Losses], None] = lambda step, losses: None,
) -> MendNetwork:
    """Train a network. The same arguments and number of threads give the same network. The model stays as it is.

    Args:
        on_step: called with the number of steps done, and the losses of the last. What it raises ends the training.

    Raises:
        StatisticsError: there are fewer subjects than a step needs, or no second moments.
        NotFinite: a loss is no finite number.
    """
    needed = max(training.facts_per_step, *training.edit_sizes)
    if len(data.facts) < needed:
        raise StatisticsError(f"a step takes {needed} facts of different subjects, and there are {len(data.facts)}")
    d_model, d_in = model.weight(layers[0]).shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = MendNetwork(tuple(layers), d_in, d_model, training.rank)
    network.to(model.device)
    factors, prefixes = moment_factors(second_moments, layers, model.device), prefixes_of(data.contexts)
    draw = random.Random(training.seed)
    subjects = draw.sample(sorted(data.facts), min(training.num_facts_normalised_by, len(data.facts)))
    some_facts = [draw.choice(data.facts[subject]) for subject in subjects]
    network.normalise_by(gradient_terms(model, some_facts, layers, prefixes))
    others = [parameter for parameter in network.parameters() if parameter is not network.log_alpha]
    groups = [
        {"params": others, "lr": training.learning_rate},
        {"params": [network.log_alpha], "lr": training.alpha_rate},
    ]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_learning_rate_factor, training))
    for step in range(training.num_steps):
        edit, locality = _losses(model, network, factors, prefixes, _draw(model, data, training, step))
        loss = training.edit_weight * edit + locality
        if not loss.isfinite():
            raise NotFinite(f"the loss of MEND's training left the finite numbers at step {step + 1}")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip_norm)
        optimizer.step()
        schedule.step()
        on_step(step + 1, Losses(edit.item(), locality.item()))
    return network.requires_grad_(False)


def _learning_rate_factor(training: Training, step: int) -> float:
    return min(1.0, (step + 1) / training.num_warmup_steps) * (1 + math.cos(math.pi * step / training.num_steps)) / 2


@dataclass(frozen=True, slots=True)
class _Step:
    """The edits of one step, and the prompts that the edited models are run on, one edit after another."""

    facts: list[Fact]
    edit_size: int  # facts of each edit
    following: list[Pair]  # what each edit should change, as many for each
    staying: list[Pair]  # what it should not, likewise

    @property
    def num_edits(self) -> int:
        return len(self.facts) // self.edit_size


def _draw(model: EditableModel, data: TrainingData, training: Training, step: int) -> _Step:
    draw = random.Random(f"{training.seed} {step}")
    edit_size = training.edit_sizes[step % len(training.edit_sizes)]
    num_edits = max(1, training.facts_per_step // edit_size)
    subjects = draw.sample(sorted(data.facts), num_edits * edit_size)
    facts = [draw.choice(data.facts[subject]) for subject in subjects]
    is_prefixed = draw.random() < training.prefixed_share
    following: list[Pair] = []
    staying: list[Pair] = []
    for start in range(0, len(facts), edit_size):
        edited = facts[start : start + edit_size]
        others = [fact for subject in draw.sample(sorted(data.facts), edit_size) for fact in data.facts[subject][:1]]
        for fact, other in zip(edited, others, strict=True):
            for prompt in (fact.prompt, draw.choice(fact.paraphrases)):
                prefix = draw.choice(data.contexts) if is_prefixed and draw.random() < 0.5 else ""
                following.append(_pair(model, prefix + prompt, fact.object))
            neighbors = [draw.choice(fact.neighbors), draw.choice(other.neighbors)]
            staying += [_pair(model, neighbor.prompt, neighbor.object) for neighbor in neighbors]
        staying += [_window(draw.choice(data.texts), draw) for _ in range(max(1, edit_size // 4))]
    return _Step(facts, edit_size, following, staying)


def _pair(model: EditableModel, prompt: str, continuation: str) -> Pair:
    return model.tokenizer(prompt)["input_ids"], target_ids(model.tokenizer, continuation, prompt)


def _window(text: Sequence[int], draw: random.Random) -> Pair:
    start = draw.randrange(len(text) - WINDOW + 1)
    return text[start : start + GIVEN], text[start + GIVEN : start + WINDOW]


def _losses(
    model: EditableModel, network: MendNetwork, factors: Mapping[int, Tensor], prefixes: Sequence[str], step: _Step
) -> tuple[Tensor, Tensor]:
    """Return the edit loss and the locality loss, both ()."""
    terms = gradient_terms(model, step.facts, network.layers, prefixes)
    staying = Continuations.of(step.staying, model.device)
    with torch.no_grad():
        base = staying.run(model)
    asked = Continuations.of([*step.following, *step.staying], model.device)
    edits = torch.arange(step.num_edits, device=model.device)
    edit_of_row = torch.cat(
        [edits.repeat_interleave(len(pairs) // step.num_edits) for pairs in (step.following, step.staying)]
    )
    with edited_apart(model, network(terms, factors), terms.fact // step.edit_size, edit_of_row):
        edited = asked.run(model)
    num_following = int((asked.row < len(step.following)).sum())
    following = Continuations.of(step.following, model.device)
    edit_loss = following.losses(model, edited[:num_following]).sum() / len(step.following)
    divergence = (base.exp() * (base - edited[num_following:])).sum(-1)
    return edit_loss, (divergence * staying.weight).sum() / len(step.staying)


def edited_apart(
    model: EditableModel, factors: Mapping[int, Factors], edit_of_token: Tensor, edit_of_row: Tensor
) -> AbstractContextManager[None]:
    """Run each row of a batch with its own edit, so that one pass evaluates many edits.

    Args:
        factors: of all edits, by layer.
        edit_of_token: which edit each of their tokens is of, (tokens,).
        edit_of_row: which edit each row is run with, (rows,).
    """
    is_own = (edit_of_row[:, None] == edit_of_token).float()[:, None]  # (rows, 1, tokens)

    def changed(layer: int, entering: Tensor, leaving: Tensor) -> Tensor:
        shares = (entering.to(is_own).float() @ factors[layer].right.T) * is_own
        return leaving + (shares @ factors[layer].left).to(leaving)

    return changing_outputs(model, factors, len(edit_of_row), changed)
