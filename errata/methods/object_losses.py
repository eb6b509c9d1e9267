"""The loss of facts' objects in an edited model, and its gradients to the edited matrices.

Each prompt is followed by its object. Blocks below the first edited one run once. The others run for each gradient, in
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from errata.facts import Fact
from errata.model import EditableModel
from errata.model.hidden_states import batches_by_length
from errata.model.tokens import padded, subject_prompt, target_ids

TOKENS_PER_BATCH = 1_024  # what all blocks from the edited one on keep of them for their gradients is in memory at once


@dataclass(frozen=True, slots=True)
class ObjectBatch:
    """Prompts followed by their objects, run together.

    Attributes:
        facts: numbers of their facts.
        first_layer: the block that they wait before.
        hidden: what enters it, (prompts, S, d_model), in main memory.
        row, position: where the tokens of the objects are predicted, (tokens,).
        token_id: those tokens, (tokens,).
        weight: 1 / tokens of the object, float32, (tokens,).
    """

    facts: tuple[int, ...]
    first_layer: int
    hidden: Tensor
    row: Tensor
    position: Tensor
    token_id: Tensor
    weight: Tensor

    def losses(self, model: EditableModel) -> Tensor:
        """Return -log p(object | prompt) / tokens of the object, (prompts,), float32, by the model as it is now."""
        output = model.run(self.first_layer, model.num_layers, self.hidden.to(model.device))
        log_probabilities = log_softmax(model.logits(output[self.row, self.position]).float(), dim=-1)
        losses = -log_probabilities.gather(1, self.token_id[:, None])[:, 0] * self.weight
        return losses.new_zeros(len(self.facts)).index_put((self.row,), losses, accumulate=True)


@torch.no_grad()
def object_batches(
    model: EditableModel, facts: Sequence[Fact], first_layer: int, context: str = ""
) -> Iterator[ObjectBatch]:
    """Bring the prompts of all facts behind `context`, each with its object, to block `first_layer`."""
    prompts = [
        subject_prompt(model.tokenizer, fact.template, fact.subject, context=context).token_ids for fact in facts
    ]
    objects = [target_ids(model.tokenizer, fact.object) for fact in facts]
    rows = [prompt + ids[:-1] for prompt, ids in zip(prompts, objects, strict=True)]
    for batch in batches_by_length([len(row) for row in rows], TOKENS_PER_BATCH):
        predictions = [
            (row, len(prompts[fact]) - 1 + place, token_id, 1 / len(objects[fact]))
            for row, fact in enumerate(batch)
            for place, token_id in enumerate(objects[fact])
        ]
        places = (torch.tensor(column, device=model.device) for column in zip(*predictions, strict=True))
        hidden = states_before(model, first_layer, [rows[fact] for fact in batch])
        yield ObjectBatch(tuple(batch), first_layer, hidden, *places)


def states_before(model: EditableModel, first_layer: int, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return what enters block `first_layer` for rows of token ids, (rows, longest, d_model), in main memory."""
    hidden = model.embed(padded(rows, model.device))
    if first_layer > 0:
        hidden = model.run(0, first_layer, hidden)
    return hidden.cpu()


def summed_gradients(
    model: EditableModel, weights: Mapping[int, Tensor], losses: Iterable[Callable[[], Tensor]]
) -> tuple[Tensor, dict[int, Tensor]]:
    """Sum all losses with `weights` in place, (), and their gradients to the matrix of each layer, float32."""
    total = torch.zeros((), device=model.device)
    sums = {layer: torch.zeros(weight.shape, device=weight.device) for layer, weight in weights.items()}
    for loss in losses:
        value, gradients = model.gradients(weights, loss)
        total += value
        for layer, gradient in gradients.items():
            sums[layer] += gradient
    return total, sums
