"""Refinement: the residuals of all facts searched for together, by the loss of the model that they are written into.

The spread brings hidden states near targets that were searched for one by one. It meets none of them exactly, since
facts with keys alike pull at one another, and it holds what a target happens to be for what its fact needs. So the
update dW = R A^T of each layer keeps its A, and R goes on from where the spread left it, to minimise

    sum over facts of the mean over prompts of -log p(object | prompt) / tokens of the object
    + kl_factor * sum over subjects of KL(p_edited || p_base) of the next token after "{subject} is a", at the subject
    + lambda * sum over layers of tr(dW C dW^T) / |h|^2

over all layers at once: the loss of a target's search (section 4.2 of the MEMIT paper) summed over the facts, of the
model as edited, with the update's cost in the place of the offset's. tr(dW C dW^T) is how far ordinary text is moved,
and what Eq. 14 of the paper minimises: with the facts' squared distances from their targets, over |h|^2, in place of
the first two terms, the minimum over one layer is the update of the spread. Where a loss depends on dW K alone, no
other form than R A^T can do better, since the columns of A span those of C^-1 K, and what is beside them costs
and moves no key.

Adam takes a number of steps that become smaller to nothing, each over the bare prompts and those behind one of the
contexts, by turns. A prompt whose object is likely enough (`stop_loss`) pushes no further, while the update's cost
goes on to draw it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from errata.deltas import Delta
from errata.errors import NotFinite
from errata.facts import Fact, by_subject, search_of
from errata.hidden_states import batches_by_length
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.object_losses import (
    TOKENS_PER_BATCH,
    ObjectBatch,
    object_batches,
    states_after,
    states_before,
    summed_gradients,
)
from errata.prompts import KL_TEMPLATE, subject_prompt
from errata.second_moments import SecondMoments
from errata.spread import Written

ADAM_BETAS = (0.9, 0.99)  # a mean of squares over the last hundred steps, of which there are fewer


def refine(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: MemitHyperparameters,
    second_moments: SecondMoments,
    written: Mapping[int, Written],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Delta]:
    """The update of each layer after `refinement_steps`, from the layers as the spread has `written` them.

    Args:
        on_progress: called with (steps done, steps in all), again and again within a step; what it raises ends this.

    The model is edited while this runs and is as it was when it ends, whatever happened.

    Raises:
        NotFinite: the loss, or an update, has left the finite numbers.
        StatisticsError: a layer has no second moment.
    """
    updates = {layer: _Update.of(of_layer) for layer, of_layer in written.items()}
    losses = _Losses.of(model, facts, contexts, hyperparameters, min(written))
    outputs = written[min(written)].outputs  # the base's own
    weight_of_cost = 2 * hyperparameters.moment_weight / float(outputs.square().sum(-1).mean())
    adam = torch.optim.Adam(
        [update.residuals for update in updates.values()], lr=hyperparameters.learning_rate, betas=ADAM_BETAS
    )
    num_steps = hyperparameters.refinement_steps
    slower = torch.optim.lr_scheduler.LinearLR(adam, start_factor=1, end_factor=0, total_iters=num_steps)
    for step in range(num_steps):
        changes = {layer: update.change for layer, update in updates.items()}
        weights = {layer: _edited(model.weight(layer), change) for layer, change in changes.items()}
        loss, gradients = summed_gradients(model, weights, losses.of_step(step, partial(on_progress, step, num_steps)))
        if not loss.isfinite():
            raise NotFinite(f"the loss of the refinement left the finite numbers at step {step + 1}")
        for layer, update in updates.items():
            moment = second_moments.moment(layer).to(model.device)
            gradient = torch.addmm(gradients[layer], changes[layer], moment, alpha=weight_of_cost)
            update.residuals.grad = gradient @ update.directions.T
        adam.step()
        slower.step()
    on_progress(num_steps, num_steps)
    return {
        layer: Delta.of_factors(update.residuals.double(), update.directions.double())
        for layer, update in updates.items()
    }


@dataclass(frozen=True, slots=True)
class _Update:
    """The update of one layer, `residuals @ directions`.

    Attributes:
        residuals: by how much each fact moves its own hidden state, (d_model, facts), float32.
        directions: A transposed, each row scaled for that, (facts, d_in), float32.
    """

    residuals: Tensor
    directions: Tensor

    @classmethod
    def of(cls, written: Written) -> _Update:
        # k (lambda C + K K^T)^-1 k > 0: how much of its residual a fact has of itself.
        own = (written.keys.double().T * written.adjusted).sum(0)  # (facts,)
        return cls((written.residuals * own).float(), (written.adjusted / own).T.float())

    @property
    def change(self) -> Tensor:
        """dW, (d_model, d_in)."""
        return self.residuals @ self.directions


def _edited(base: Tensor, change: Tensor) -> Tensor:
    return (base.float() + change).to(base.dtype)


@dataclass(frozen=True, slots=True)
class _Losses:
    """The terms that the model must be run for.

    Attributes:
        bare: the facts' prompts.
        in_context: the same behind each of the contexts.
        stop_losses: of each fact, (facts,).
        subjects: what is to stay with them.
    """

    model: EditableModel
    bare: Sequence[ObjectBatch]
    in_context: Sequence[Sequence[ObjectBatch]]
    stop_losses: Tensor
    subjects: Sequence[_SubjectBatch]

    @classmethod
    def of(
        cls,
        model: EditableModel,
        facts: Sequence[Fact],
        contexts: Sequence[str],
        hyperparameters: MemitHyperparameters,
        first_layer: int,
    ) -> _Losses:
        stop_losses: dict[Fact, float] = {}
        kl_factors: dict[str, float] = {}
        for about_one in by_subject(facts):
            settings = hyperparameters.for_search(search_of(about_one))
            stop_losses.update(dict.fromkeys(about_one, settings.stop_loss))
            kl_factors[about_one[0].subject] = settings.kl_factor
        return cls(
            model,
            object_batches(model, facts, first_layer),
            [object_batches(model, facts, first_layer, context) for context in contexts],
            torch.tensor([stop_losses[fact] for fact in facts], device=model.device),
            _subject_batches(model, kl_factors, first_layer),
        )

    def of_step(self, step: int, before_each: Callable[[], None]) -> Iterator[Callable[[], Tensor]]:
        """The parts that the loss of a step is the sum of."""
        prompts = [self.bare]
        if self.in_context:
            prompts.append(self.in_context[step % len(self.in_context)])
        for batches in prompts:
            for batch in batches:
                before_each()
                yield partial(self._of_objects, batch, 1 / len(prompts))
        for subjects in self.subjects:
            before_each()
            yield partial(subjects.divergence, self.model)

    def _of_objects(self, batch: ObjectBatch, share: float) -> Tensor:
        losses = batch.losses(self.model)
        good_enough = losses < self.stop_losses[list(batch.facts)]
        return torch.where(good_enough, losses.detach(), losses).sum() * share


@dataclass(frozen=True, slots=True)
class _SubjectBatch:
    """Prompts that ask what their subjects are, up to the subject's last token, run together.

    Attributes:
        first_layer, hidden: as in `ObjectBatch`.
        last: place of the subject's last token in each, (subjects,).
        before: log probabilities of the base's next token there, (subjects, vocabulary), in main memory.
        kl_factor: of each subject, (subjects,).
    """

    first_layer: int
    hidden: Tensor
    last: Tensor
    before: Tensor
    kl_factor: Tensor

    def divergence(self, model: EditableModel) -> Tensor:
        """The sum over the subjects of kl_factor * KL(p_edited || p_base), ()."""
        now = _next_token(model, self.first_layer, self.hidden, self.last)
        divergences = kl_div(self.before.to(model.device), now, log_target=True, reduction="none").sum(-1)
        return (divergences * self.kl_factor).sum()


@torch.no_grad()
def _subject_batches(model: EditableModel, kl_factors: Mapping[str, float], first_layer: int) -> list[_SubjectBatch]:
    subjects = list(kl_factors)
    rows = [subject_prompt(model.tokenizer, KL_TEMPLATE, subject).up_to_subject for subject in subjects]
    batches = []
    for batch in batches_by_length([len(row) for row in rows], TOKENS_PER_BATCH):
        hidden = states_before(model, first_layer, [rows[number] for number in batch])
        last = torch.tensor([len(rows[number]) - 1 for number in batch], device=model.device)
        before = _next_token(model, first_layer, hidden, last).cpu()
        factors = torch.tensor([kl_factors[subjects[number]] for number in batch], device=model.device)
        batches.append(_SubjectBatch(first_layer, hidden, last, before, factors))
    return batches


def _next_token(model: EditableModel, first_layer: int, hidden: Tensor, place: Tensor) -> Tensor:
    """Log probabilities of the token after one place of each row, (rows, vocabulary), float32."""
    output = states_after(model, first_layer, hidden)
    return log_softmax(model.logits(output[torch.arange(len(output), device=model.device), place]).float(), dim=-1)
