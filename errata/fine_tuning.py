"""Constrained fine-tuning (Zhu et al. 2020, arXiv 2012.00363), on one matrix, as ROME's baseline FT-L uses it.

    minimise over W':   mean over facts of -log p(object | prompt) / tokens of the object
    subject to          |W'_ij - W_ij| <= epsilon for each weight

by Adam on the whole matrix and all facts at once, each step followed by a projection onto the bound. Nothing is asked
of where a fact lies in the model, and nothing but the bound keeps the rest in place. (The baseline's code asks for all
tokens of an object at the end of the prompt; here, each is asked for behind those before it.)

Blocks below the edited one run once; at each step the others run, in batches whose gradients are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from errata.build_store import BuildStore
from errata.deltas import Delta
from errata.errors import NotFinite
from errata.facts import Fact
from errata.hidden_states import batches_by_length
from errata.hyperparameters import FineTuningHyperparameters
from errata.method import Method, OnProgress
from errata.model import EditableModel
from errata.prompts import padded, subject_prompt, target_ids
from errata.second_moments import SecondMoments

TOKENS_PER_BATCH = 1_024  # what all blocks from the edited one on keep of them for their gradients is in memory at once


def find_updates(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    hyperparameters: FineTuningHyperparameters,
    second_moments: SecondMoments,
    store: BuildStore | None,
    on_progress: OnProgress,
) -> dict[int, Delta]:
    """The change of the one layer, stored whole. Contexts, second moments and `store` are not used.

    Raises:
        NotFinite: the loss is no finite number.
    """
    (layer,) = hyperparameters.layers
    batches = _batches(model, facts, layer)
    base = model.weight(layer)
    change = torch.zeros(base.shape, device=base.device)
    adam = torch.optim.Adam([change], lr=hyperparameters.learning_rate, weight_decay=hyperparameters.weight_decay)
    bound, num_steps = hyperparameters.norm_bound, hyperparameters.num_steps
    for step in range(num_steps):
        on_progress("spread", step, num_steps)
        loss, change.grad = _loss_and_gradient(model, layer, (base + change).to(base.dtype), batches, len(facts))
        if not loss.isfinite():
            raise NotFinite(f"the loss of the fine-tuning left the finite numbers at step {step + 1}")
        if loss < hyperparameters.stop_loss:
            break
        adam.step()
        change.clamp_(-bound, bound)
    on_progress("spread", num_steps, num_steps)
    return {layer: Delta.of_change(change)}


@dataclass(frozen=True, slots=True)
class _Batch:
    """Prompts followed by their objects, run together.

    Attributes:
        hidden: what enters the edited block, (facts, S, d_model), in main memory.
        row, position: where the tokens of the objects are predicted, (tokens,).
        token_id: those tokens, (tokens,).
        weight: 1 / tokens of the object, float32, (tokens,).
    """

    hidden: Tensor
    row: Tensor
    position: Tensor
    token_id: Tensor
    weight: Tensor

    def loss(self, model: EditableModel, layer: int) -> Tensor:
        """The sum over the batch's facts, ()."""
        blocks = model.blocks(layer, model.num_layers)
        output = blocks(inputs_embeds=self.hidden.to(model.device), use_cache=False).last_hidden_state
        log_probabilities = log_softmax(model.logits(output[self.row, self.position]).float(), dim=-1)
        return -(log_probabilities.gather(1, self.token_id[:, None])[:, 0] * self.weight).sum()


@torch.no_grad()
def _batches(model: EditableModel, facts: Sequence[Fact], layer: int) -> list[_Batch]:
    prompts = [subject_prompt(model.tokenizer, fact.template, fact.subject).token_ids for fact in facts]
    objects = [target_ids(model.tokenizer, fact.object) for fact in facts]
    rows = [prompt + ids[:-1] for prompt, ids in zip(prompts, objects, strict=True)]
    batches = []
    for batch in batches_by_length([len(row) for row in rows], TOKENS_PER_BATCH):
        hidden = model.embed(padded([rows[fact] for fact in batch], model.device))
        if layer > 0:
            hidden = model.blocks(0, layer)(inputs_embeds=hidden, use_cache=False).last_hidden_state
        predictions = [
            (row, len(prompts[fact]) - 1 + place, token_id, 1 / len(objects[fact]))
            for row, fact in enumerate(batch)
            for place, token_id in enumerate(objects[fact])
        ]
        places = (torch.tensor(column, device=model.device) for column in zip(*predictions, strict=True))
        batches.append(_Batch(hidden.cpu(), *places))
    return batches


def _loss_and_gradient(
    model: EditableModel, layer: int, weight: Tensor, batches: Sequence[_Batch], num_facts: int
) -> tuple[Tensor, Tensor]:
    """The mean over the facts, (), and its gradient, (d_model, d_in), float32."""
    loss, gradient = torch.zeros((), device=model.device), torch.zeros(weight.shape, device=model.device)
    for batch in batches:
        loss_of_batch, gradient_of_batch = model.gradient(layer, weight, partial(batch.loss, model, layer))
        loss += loss_of_batch / num_facts
        gradient += gradient_of_batch.float() / num_facts
    return loss, gradient


build = Method(FineTuningHyperparameters, find_updates, one_after_another=False, searches_ahead=False)
