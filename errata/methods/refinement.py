"""Refinement: search for the residuals of all facts together, by the loss of the model that they are written into.

The spread brings hidden states near targets that were searched for one by one. It meets none of them exactly, since
facts with keys alike pull at one another, and it holds what a target happens to be for what its fact needs. So the
update dW = R A^T of each layer keeps its A, and R goes on from half of where the spread left it, to minimise

    the mean over facts of -log p(object | prompt) / tokens of the object, itself the mean over prompts, with the loss
      of the end of its last word where `boundary_factor` asks for it,
    + kl_factor * KL(p_edited || p_base) of the next token after "{subject} is a", at the subject, of each subject,
      over the number of facts
    + refinement_cost * sum over layers of tr(F dW C dW^T) / that sum as the spread left it

over all layers at once: the loss of a target's search (section 4.2 of the MEMIT paper), of the model as edited, with
the update's cost in the place of the offset's. What Eq. 14 of the paper weighs against the facts is tr(dW C dW^T), how
far ordinary text's hidden states move. But a model listens to some of their directions a hundred times as much as to
others: with F = G, the second moment of gradients there, the sum is twice how far the *predictions* after ordinary text
diverge (`errata.second_moments.gradients`). F is G over the layers' mean of tr(G) / d_model, nine parts of it beside
one of the identity, for directions that G has seen too little of. How far a usual fact must move text is a matter of
the model's keys (from one model to the next, a thousand times as far), and of how many facts there are; measured in
what the spread moved it, one cost suits one fact and hundreds. Where a loss depends on dW K alone, no other form than
R A^T can do better, since the columns of A span those of C^-1 K, and what is beside them costs and moves no key. Where
a norm follows the down-projection (`errata.methods.residuals`), R and dW are measured in rms(v) of their layer, and F
in its square.

Steps go along the natural gradient, F^-1 times the gradient: towards what the objects need in directions that ordinary
text hardly hears. They become smaller to nothing, each over the bare prompts and those behind one of the contexts, by
turns. A fact's step at a layer has a mean over steps for its direction, and is divided by the root mean square of all
its entries over steps, as Adam divides by that of each entry, which would undo F^-1. As R is scaled, it moves a
fact's hidden state as far as a step of a target's search moves the target, over all layers together. A prompt whose
object is likely enough (`stop_loss`) pushes no further, while the update's cost goes on to draw it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from errata.deltas import Delta
from errata.errors import NotFinite
from errata.facts import Fact, by_subject, search_of
from errata.hyperparameters import MemitHyperparameters
from errata.methods.method import Inputs
from errata.methods.object_losses import TOKENS_PER_BATCH, ObjectBatch, object_batches, states_before, summed_gradients
from errata.methods.residuals import unit
from errata.methods.spread import Written
from errata.model import EditableModel
from errata.model.hidden_states import batches_by_length
from errata.model.tokens import KL_TEMPLATE, subject_prompt
from errata.second_moments import SecondMoments

REFINEMENT = 2  # version of it; raise it with any change that gives other updates
SHARE_OF_SPREAD = 0.5  # that is begun with: some of what the spread wrote is what no fact needs
DAMPING = 0.1
SMALLEST = 1e-12  # what a fact without a gradient is divided by
BETAS = (0.9, 0.99)  # of the means of gradients and of their squares, over ten steps and a hundred

Batch = TypeVar("Batch")


def refine(inputs: Inputs[MemitHyperparameters], written: Iterable[tuple[int, Written]]) -> dict[int, Delta]:
    """Return the update of each layer after `refinement_steps`, starting from the layers as the spread writes them.

    Args:
        written: each layer in turn (`write_layers`), the first one with the base's own hidden states.

    Progress is told in layers written and steps done, again and again within a step.
    The model is edited while this runs and is as it was when it ends, whatever happened.

    Raises:
        NotFinite: the loss, or an update, has left the finite numbers.
        StatisticsError: a layer has no second moment, or none of gradients can be collected.
    """
    model, settings = inputs.model, inputs.hyperparameters
    num_layers, num_steps, total = len(settings.layers), settings.refinement_steps, settings.num_writing_steps

    def tell(done: int) -> None:
        inputs.on_progress("spread", done, total)

    tell(0)
    updates: dict[int, _Update] = {}
    for layer, as_written in written:
        length = unit(model, layer, as_written.keys)
        updates[layer] = _Update.of(as_written, inputs.second_moments.moment(layer), length or 1.0)
        tell(len(updates))
    inputs.second_moments.collect_gradients(settings.layers, model, lambda *_: tell(num_layers))
    metrics = _metrics(inputs.second_moments, updates)
    losses = _Losses.of(inputs, partial(tell, num_layers))
    moved = sum(float(update.moved(metrics[layer])) for layer, update in updates.items())
    cost = settings.refinement_cost / moved if moved > 0 else 0.0
    rate = settings.learning_rate / num_layers
    factors = {layer: torch.linalg.cholesky(metric.double()) for layer, metric in metrics.items()}
    for update in updates.values():
        update.residuals.mul_(SHARE_OF_SPREAD)
    steps = {layer: _Steps.of(update.residuals) for layer, update in updates.items()}
    for step in range(num_steps):
        weights = {layer: update.added_to(model.weight(layer)) for layer, update in updates.items()}
        of_step = losses.of_step(step, partial(tell, num_layers + step))
        loss, gradients = summed_gradients(model, weights, of_step)
        if not loss.isfinite():
            raise NotFinite(f"the loss of the refinement left the finite numbers at step {step + 1}")
        for layer, update in updates.items():
            of_losses = update.unit * gradients[layer] @ update.directions.T / len(inputs.facts)
            # The cost's natural gradient, F^-1 F R (A^T C A), needs no F.
            natural = torch.cholesky_solve(of_losses.double(), factors[layer]).float()
            natural += 2 * cost * update.residuals @ update.moved_text
            steps[layer].take(natural, rate * (1 - step / num_steps))
    tell(total)
    return {
        layer: Delta.of_factors(update.unit * update.residuals.double(), update.directions.double())
        for layer, update in updates.items()
    }


@dataclass(frozen=True, slots=True)
class _Update:
    """The update of one layer, dW = `unit * residuals @ directions`. All is float32."""

    unit: float  # what residuals are measured in: 1, or rms(v) where a norm follows (`errata.methods.residuals`)
    residuals: Tensor  # by how much each fact moves its own hidden state, or its own u, (d_model, facts)
    directions: Tensor  # A transposed, each row scaled for that, (facts, d_in)
    moved_text: Tensor  # directions C directions^T, (facts, facts): tr(dW C dW^T) is tr(R moved_text R^T)

    @classmethod
    def of(cls, written: Written, second_moment: Tensor, unit: float) -> _Update:
        # k (lambda C + K K^T)^-1 k > 0: how much of its residual a fact has of itself.
        own = (written.keys.double().T * written.adjusted).sum(0)  # (facts,)
        directions = (written.adjusted / own).T.float()
        moved_text = directions @ second_moment.to(directions.device) @ directions.T
        return cls(unit, (written.residuals * own / unit).float(), directions, moved_text)

    def moved(self, metric: Tensor) -> Tensor:
        """How far ordinary text is moved: tr(F dW C dW^T), ()."""
        return (metric @ self.residuals @ self.moved_text * self.residuals).sum()

    def added_to(self, base: Tensor) -> Tensor:
        return torch.addmm(base.float(), self.residuals, self.directions, alpha=self.unit).to(base.dtype)


def _metrics(second_moments: SecondMoments, updates: Mapping[int, _Update]) -> dict[int, Tensor]:
    """Return F of each layer, (d_model, d_model), from G, in the layers' units."""
    measured = {
        layer: second_moments.gradients(layer, update.residuals.device) * update.unit**2
        for layer, update in updates.items()
    }
    mean = fmean(float(of_layer.diagonal().mean()) for of_layer in measured.values())
    for of_layer in measured.values():
        of_layer.mul_((1 - DAMPING) / mean).diagonal().add_(DAMPING)
    return measured


@dataclass(slots=True)
class _Steps:
    """The steps that the residuals of one layer, (d_model, facts), take."""

    residuals: Tensor
    mean: Tensor  # of the gradients, (d_model, facts)
    mean_square: Tensor  # of each fact's entries, (facts,)
    taken: int = 0

    @classmethod
    def of(cls, residuals: Tensor) -> _Steps:
        return cls(residuals, torch.zeros_like(residuals), torch.zeros_like(residuals[0]))

    def take(self, gradient: Tensor, rate: float) -> None:
        """Take a step, in place."""
        first, second = BETAS
        self.taken += 1
        self.mean.lerp_(gradient, 1 - first)
        self.mean_square.lerp_(gradient.square().mean(0), 1 - second)
        mean, square = self.mean / (1 - first**self.taken), self.mean_square / (1 - second**self.taken)
        self.residuals.sub_(rate * mean / (square.sqrt() + SMALLEST))


@dataclass(frozen=True, slots=True)
class _Losses:
    """The terms of the loss that need runs of the model."""

    model: EditableModel
    bare: Sequence[ObjectBatch]
    in_context: Sequence[Sequence[ObjectBatch]]  # behind each of the contexts
    stop_losses: Tensor  # (facts,)
    shares: Tensor  # 1 / prompts of a fact at a step: the bare one, and one in context if it takes any, (facts,)
    subjects: Sequence[_SubjectBatch]  # what is to stay with them

    @classmethod
    def of(cls, inputs: Inputs[MemitHyperparameters], before_each: Callable[[], None]) -> _Losses:
        """Prepare the batches. `before_each` is called before each batch is run up to the first edited layer."""
        model, facts, first_layer = inputs.model, inputs.facts, inputs.hyperparameters.layers[0]
        stop_losses: dict[Fact, float] = {}
        boundary_factors: dict[Fact, float] = {}
        kl_factors: dict[str, float] = {}
        for about_one in by_subject(facts):
            settings = inputs.hyperparameters.for_search(search_of(about_one))
            stop_losses.update(dict.fromkeys(about_one, settings.stop_loss))
            boundary_factors.update(dict.fromkeys(about_one, settings.boundary_factor))
            kl_factors[about_one[0].subject] = settings.kl_factor

        def prompts(context: str) -> list[ObjectBatch]:
            factors = [boundary_factors[fact] for fact in facts]
            batches = object_batches(model, facts, first_layer, context, boundary_factors=factors)
            return list(_each(batches, before_each))

        return cls(
            model,
            prompts(""),
            [prompts(context) for context in inputs.contexts],
            torch.tensor([stop_losses[fact] for fact in facts], device=model.device),
            torch.tensor([1 / (1 + (fact.takes_context and bool(inputs.contexts))) for fact in facts]).to(model.device),
            list(_each(_subject_batches(model, kl_factors, first_layer), before_each)),
        )

    def of_step(self, step: int, before_each: Callable[[], None]) -> Iterator[Callable[[], Tensor]]:
        """Yield the parts whose sum is the loss of a step."""
        prompts = [self.bare]
        if self.in_context:
            prompts.append(self.in_context[step % len(self.in_context)])
        for batches in prompts:
            for batch in _each(batches, before_each):
                yield partial(self._of_objects, batch)
        for subjects in _each(self.subjects, before_each):
            yield partial(subjects.divergence, self.model)

    def _of_objects(self, batch: ObjectBatch) -> Tensor:
        losses, facts = batch.losses(self.model), list(batch.facts)
        good_enough = losses < self.stop_losses[facts]
        return (torch.where(good_enough, losses.detach(), losses) * self.shares[facts]).sum()


def _each(batches: Iterable[Batch], before_each: Callable[[], None]) -> Iterator[Batch]:
    for batch in batches:
        before_each()
        yield batch


@dataclass(frozen=True, slots=True)
class _SubjectBatch:
    """Prompts "{subject} is a", up to the subject's last token, run together. For the rest, see `ObjectBatch`."""

    first_layer: int
    hidden: Tensor
    last: Tensor  # place of the subject's last token, (subjects,)
    before: Tensor  # log probabilities of the base's next token there, (subjects, vocabulary), in main memory
    kl_factor: Tensor  # (subjects,)

    def divergence(self, model: EditableModel) -> Tensor:
        """Sum kl_factor * KL(p_edited || p_base) over the subjects, ()."""
        now = _next_token(model, self.first_layer, self.hidden, self.last)
        divergences = kl_div(self.before.to(model.device), now, log_target=True, reduction="none").sum(-1)
        return (divergences * self.kl_factor).sum()


@torch.no_grad()
def _subject_batches(
    model: EditableModel, kl_factors: Mapping[str, float], first_layer: int
) -> Iterator[_SubjectBatch]:
    subjects = list(kl_factors)
    rows = [subject_prompt(model.tokenizer, KL_TEMPLATE, subject).up_to_subject for subject in subjects]
    for batch in batches_by_length([len(row) for row in rows], TOKENS_PER_BATCH):
        hidden = states_before(model, first_layer, [rows[number] for number in batch])
        last = torch.tensor([len(rows[number]) - 1 for number in batch], device=model.device)
        before = _next_token(model, first_layer, hidden, last).cpu()
        factors = torch.tensor([kl_factors[subjects[number]] for number in batch], device=model.device)
        yield _SubjectBatch(first_layer, hidden, last, before, factors)


def _next_token(model: EditableModel, first_layer: int, hidden: Tensor, place: Tensor) -> Tensor:
    """Return log probabilities of the token after one place of each row, (rows, vocabulary), float32."""
    output = model.run(first_layer, model.num_layers, hidden.to(model.device))
    return log_softmax(model.logits(output[torch.arange(len(output), device=model.device), place]).float(), dim=-1)
