"""The gradient of facts' loss to down-projections, token by token: dL/dW = sum over tokens of delta u^T.

u is what enters the down-projection at a token, delta the gradient of the loss to what leaves it there (Section 3.2 of
the paper). The loss is the sum over the facts of the mean over prefixes of -log p(object | prompt) / tokens of the
object, so that a fact's terms do not depend on the facts beside it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from errata.facts import Fact
from errata.methods.object_losses import Continuations, Pair
from errata.model import EditableModel
from errata.model.hidden_states import batches_by_length, tokens_per_batch
from errata.model.tokens import object_ids


@dataclass(frozen=True, slots=True)
class GradientTerms:
    """The gradient terms of some facts' tokens, by layer."""

    inputs: dict[int, Tensor]  # u of each token, (tokens, d_in), float32
    gradients: dict[int, Tensor]  # delta of each token, (tokens, d_model), float32
    fact: Tensor  # the index of the fact that a token belongs to, (tokens,)


def prefixes_of(contexts: Sequence[str]) -> tuple[str, ...]:
    """Return the prefixes to put before a fact's prompt: none, and the first context prefix.

    Behind a prefix, the prompt's first word is not the first of its text.
    """
    return ("", *contexts[:1])


def gradient_terms(
    model: EditableModel, facts: Sequence[Fact], layers: Sequence[int], prefixes: Sequence[str]
) -> GradientTerms:
    """Return the terms of the facts' objects after their prompts behind each of `prefixes`.

    The model is used as it is now, and its weights get no gradients. Tokens of a prefix have no terms: they are not
    part of the fact.
    """
    objects = [object_ids(model.tokenizer, fact) for fact in facts]
    skipped = [len(model.tokenizer(prefix.rstrip())["input_ids"]) if prefix else 0 for prefix in prefixes]
    rows = [
        _Row(index, skip, (model.tokenizer(prefix + fact.prompt)["input_ids"], objects[index]))
        for index, fact in enumerate(facts)
        for prefix, skip in zip(prefixes, skipped, strict=True)
        if fact.takes_context or not prefix
    ]
    rows_of = Counter(row.fact for row in rows)
    lengths = [len(prompt) + len(continuation) - 1 for prompt, continuation in (row.pair for row in rows)]
    parts = [
        _terms_of(model, [rows[row] for row in batch], layers, rows_of)
        for batch in batches_by_length(lengths, tokens_per_batch(model.device))
    ]
    return GradientTerms(
        {layer: torch.cat([part.inputs[layer] for part in parts]) for layer in layers},
        {layer: torch.cat([part.gradients[layer] for part in parts]) for layer in layers},
        torch.cat([part.fact for part in parts]),
    )


class _Row(NamedTuple):
    """A fact, by its index, behind a prefix of `skip` tokens."""

    fact: int
    skip: int
    pair: Pair


def _terms_of(
    model: EditableModel, rows: Sequence[_Row], layers: Sequence[int], rows_of: Mapping[int, int]
) -> GradientTerms:
    """Return the terms of one batch."""
    asked = Continuations.of([row.pair for row in rows], model.device)
    inputs: dict[int, Tensor] = {}
    offsets: dict[int, Tensor] = {}

    def observed(layer: int, entering: Tensor, leaving: Tensor) -> Tensor:
        inputs[layer] = entering.detach()
        offsets[layer] = torch.zeros_like(leaving, requires_grad=True)
        return leaving + offsets[layer]

    with torch.enable_grad(), changing_outputs(model, layers, len(rows), observed):
        losses = asked.losses(model, asked.run(model))
        shares = torch.tensor([1 / rows_of[row.fact] for row in rows], device=model.device)
        loss = (losses * shares[asked.row]).sum()
    gradients = torch.autograd.grad(loss, [offsets[layer] for layer in layers])
    columns = [(row.fact, row.skip, len(ids)) for row, ids in zip(rows, asked.rows, strict=True)]
    fact, first, stop = torch.tensor(columns, device=model.device).T
    places = torch.arange(int(stop.max()), device=model.device)
    is_token = (places >= first[:, None]) & (places < stop[:, None])
    return GradientTerms(
        {layer: inputs[layer].to(model.device)[is_token].float() for layer in layers},
        {layer: terms.to(model.device)[is_token].float() for layer, terms in zip(layers, gradients, strict=True)},
        fact.repeat_interleave(stop - first),
    )


@contextmanager
def changing_outputs(
    model: EditableModel, layers: Iterable[int], num_rows: int, change: Callable[[int, Tensor, Tensor], Tensor]
) -> Iterator[None]:
    """Change the output of each layer's down-projection in runs inside this context.

    `change` is given the layer, the input and the output of its down-projection, each (num_rows, S, n), and returns the
    new output.
    """

    def hook(layer: int, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        entering, leaving = (states.view(num_rows, -1, states.shape[-1]) for states in (inputs[0], output))
        return change(layer, entering, leaving).view(output.shape)

    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(model.down_projection(layer).register_forward_hook(partial(hook, layer)))
        yield
