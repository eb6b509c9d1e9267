"""G = E[g g^T]: by how much the next tokens of ordinary text change when a down-projection gives something else.

g is the gradient of log p(tokens) by what the down-projection of a layer gives at one position, d_model numbers; the
tokens are drawn from what the base itself predicts, those of the position and of all after it. So G is the Fisher
information of that output: where it moves by d at a position, the base's predictions diverge from the edited model's by

    KL ~ 1/2 d^T G d    on average.

Beside it stands C of what enters the down-projection, and an update dW moves ordinary text by 1/2 tr(G dW C dW^T): the
Fisher information of W in its Kronecker factors (K-FAC, Martens and Grosse 2015, arXiv 1503.05671, section 3), which
holds as far as inputs and gradients are independent.

G belongs to a base model as C does, and is kept beside it. It is of fewer positions: its d_model directions differ less
than those of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from errata.errors import StatisticsError
from errata.model import EditableModel
from errata.second_moments.collection import packed
from errata.second_moments.corpora import corpus_for
from errata.second_moments.default_text import SMALL, default_text
from errata.well_known import sentences

POSITIONS_PER_DIMENSION = 4
SEQUENCE_TOKENS = 64
SEQUENCES_PER_BATCH = 4  # all blocks keep what their gradients need of them


def collect_gradients(
    model: EditableModel, layers: Sequence[int], on_progress: Callable[[int, int], None]
) -> dict[int, Tensor]:
    """Collect G of each layer, (d_model, d_model), float32, on the device of its block.

    It is of a shipped model's corpus, or else of sentences about well-known facts and, once these are read, of
    `default_text`: the same whatever C was collected from. Names show by which directions a model tells subjects apart,
    and neighbours are held by these (docs/real-models.md).

    Args:
        on_progress: called with (positions seen, positions to see). What it raises ends the collection.

    Raises:
        StatisticsError: a gradient is not a finite number, as in a number type that is too narrow for the model.
    """
    d_model, _ = model.matrix_shapes[0]
    length = min(SEQUENCE_TOKENS, model.max_length)
    at_once = SEQUENCES_PER_BATCH * length
    num_batches = -(-POSITIONS_PER_DIMENSION * d_model // at_once)
    documents = corpus_for(model.name, None) or _texts(model)
    draws = torch.Generator().manual_seed(0)  # in main memory, so that devices differ by rounding alone
    sums: dict[int, Tensor] = {}
    seen = 0
    for batch in islice(packed(model, documents, SEQUENCES_PER_BATCH, length), num_batches):
        for layer, gradients in _gradients(model, layers, batch.to(model.device), draws).items():
            products = gradients.T @ gradients
            sums[layer] = sums[layer].add_(products) if layer in sums else products
        seen += at_once
        on_progress(seen, num_batches * at_once)
    for layer, total in sums.items():
        if not total.isfinite().all():
            raise StatisticsError(f"gradients of {model.name} at layer {layer} left the finite numbers")
    return {layer: total.div_(seen) for layer, total in sums.items()}


def _texts(model: EditableModel) -> Iterator[str]:
    """Yield what G is of: what a small model writes by itself is about names, and documentation hardly ever."""
    d_model, _ = model.matrix_shapes[0]
    if d_model >= SMALL:
        yield from sentences()
    yield from default_text(model)[1]


def _gradients(
    model: EditableModel, layers: Sequence[int], token_ids: Tensor, draws: torch.Generator
) -> dict[int, Tensor]:
    """Return g of each layer at each position of sequences, (sequences, tokens): (positions, d_model), float32."""
    moves: dict[int, Tensor] = {}

    def move(layer: int, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        moves[layer] = torch.zeros_like(output, requires_grad=True)
        return output + moves[layer]

    with torch.no_grad():
        hidden = model.run(0, min(layers), model.embed(token_ids)) if min(layers) else model.embed(token_ids)
    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(model.down_projection(layer).register_forward_hook(partial(move, layer)))
        logits = model.logits(model.run(min(layers), model.num_layers, hidden)).float().flatten(0, 1)
    up_to = logits.detach().softmax(-1).cumsum(-1)
    shares = torch.rand(len(up_to), 1, generator=draws).to(up_to.device)
    drawn = torch.searchsorted(up_to, shares)[:, 0].clamp(max=up_to.shape[1] - 1)
    found = torch.autograd.grad(cross_entropy(logits, drawn, reduction="sum"), [moves[layer] for layer in layers])
    return {layer: of_layer.float().flatten(end_dim=-2) for layer, of_layer in zip(layers, found, strict=True)}
