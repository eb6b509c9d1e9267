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
from errata.model.boundaries import losses_of, weights_in, with_end
from errata.model.hidden_states import batches_by_length
from errata.model.tokens import object_ids, padded, subject_prompt

TOKENS_PER_BATCH = 1_024  # what all blocks from the edited one on keep of them for their gradients is in memory at once


Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Continuations:
    """Token ids of prompts, each with a continuation to predict."""

    rows: list[list[int]]  # prompt and continuation but for its last token, which nothing follows
    row: Tensor  # where each token of the continuations is predicted, (tokens,)
    position: Tensor  # in its row, (tokens,)
    token_id: Tensor  # what should be predicted there, or `END_OF_WORD`, (tokens,)
    weight: Tensor  # `weights_in` the continuation, float32, (tokens,)

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], device: torch.device, boundary_factors: Sequence[float] | None = None
    ) -> Continuations:
        """Arrange pairs of prompt and continuation, neither empty.

        `END_OF_WORD` may stand at a continuation's end, and has the weight of its pair then.
        """
        factors = boundary_factors or [0.0] * len(pairs)
        predictions = [
            (row, len(prompt) - 1 + place, token_id, weight)
            for row, (prompt, continuation) in enumerate(pairs)
            for place, (token_id, weight) in enumerate(
                zip(continuation, weights_in(continuation, factors[row]), strict=True)
            )
        ]
        places = (torch.tensor(column, device=device) for column in zip(*predictions, strict=True))
        return cls([[*prompt, *continuation[:-1]] for prompt, continuation in pairs], *places)

    def run(self, model: EditableModel) -> Tensor:
        """Return log probabilities at each predicted token's place, (tokens, vocabulary), float32."""
        return self.read(model, model.run(0, model.num_layers, model.embed(padded(self.rows, model.device))))

    def read(self, model: EditableModel, hidden: Tensor) -> Tensor:
        """Return the same from the rows' final hidden states, (rows, S, d_model)."""
        return log_softmax(model.logits(hidden[self.row, self.position]).float(), dim=-1)

    def losses(self, model: EditableModel, log_probabilities: Tensor) -> Tensor:
        """Return -log p / tokens of the continuation, for each predicted token, (tokens,)."""
        return losses_of(model, log_probabilities, self.token_id) * self.weight


@dataclass(frozen=True, slots=True)
class ObjectBatch:
    """Prompts followed by their objects, run together."""

    facts: tuple[int, ...]  # numbers of their facts
    objects: Continuations
    first_layer: int  # the block that they wait before
    hidden: Tensor  # what enters it, (prompts, S, d_model), in main memory

    def losses(self, model: EditableModel) -> Tensor:
        """Return -log p(object | prompt) / tokens of the object, (prompts,), float32, by the model as it is now.

        Where the batch was made with `boundary_factors`, the losses of the ends of words are added.
        """
        output = model.run(self.first_layer, model.num_layers, self.hidden.to(model.device))
        losses = self.objects.losses(model, self.objects.read(model, output))
        return losses.new_zeros(len(self.facts)).index_put((self.objects.row,), losses, accumulate=True)

    def loss(self, model: EditableModel) -> Tensor:
        """Return the sum of the same over the prompts, ()."""
        return self.losses(model).sum()


@torch.no_grad()
def object_batches(
    model: EditableModel,
    facts: Sequence[Fact],
    first_layer: int,
    context: str = "",
    *,
    boundary_factors: Sequence[float] | None = None,
    after: Sequence[int] = (),
) -> Iterator[ObjectBatch]:
    """Bring the prompts of all facts behind `context` that take one, each with its object, to block `first_layer`.

    Args:
        boundary_factors: of each fact, the weight of the end of its object's last word (`errata.model.boundaries`).
        after: token ids to be said after each object, as a part of it.
    """
    places = [place for place, fact in enumerate(facts) if fact.takes_context or not context]
    factors = boundary_factors or [0.0] * len(facts)
    pairs = []
    for place in places:
        fact = facts[place]
        prompt = subject_prompt(model.tokenizer, fact.template, fact.subject, context=context)
        said = (*object_ids(model.tokenizer, fact), *after)
        pairs.append((prompt.token_ids, with_end(model, said, factors[place])))
    lengths = [len(prompt) + len(continuation) - 1 for prompt, continuation in pairs]
    for batch in batches_by_length(lengths, TOKENS_PER_BATCH):
        of_batch = [factors[places[number]] for number in batch]
        objects = Continuations.of([pairs[number] for number in batch], model.device, of_batch)
        of_facts = tuple(places[number] for number in batch)
        yield ObjectBatch(of_facts, objects, first_layer, states_before(model, first_layer, objects.rows))


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
