"""The end of a word, as something to be learnt: an object that is said is followed by no letters of its own word.

"Astanaq" is not "Astana". Where an object ends in a word, what may come next is left open but for the tokens that would
make the word longer. So beside the object's tokens, the search learns

    -log(1 - p(a token that makes the word longer | prompt, object)),

which is nothing where the model ends the word by itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from errata.model.editable import EditableModel
from errata.model.tokens import ends_in_word

END_OF_WORD = -1  # stands in the place of a token's id
SURE = 0.01  # a longer word that is less likely than this has no loss


def with_end(model: EditableModel, object_ids: Sequence[int], boundary_factor: float) -> tuple[int, ...]:
    """Return an object's tokens, followed by `END_OF_WORD` where it ends in a word and this is to be learnt."""
    is_learnt = boundary_factor > 0 and ends_in_word(model.tokenizer, object_ids)
    return (*object_ids, END_OF_WORD) if is_learnt else tuple(object_ids)


def weights_in(wanted: Sequence[int], boundary_factor: float) -> list[float]:
    """Return the weight of each loss of an object: 1 / its tokens, and `boundary_factor` for the end of its word."""
    has_end = wanted[-1] == END_OF_WORD
    num_tokens = len(wanted) - has_end
    return [1 / num_tokens] * num_tokens + [boundary_factor] * has_end


def losses_of(model: EditableModel, log_probabilities: Tensor, token_ids: Tensor) -> Tensor:
    """Return the loss of each wanted token, or end of a word, (tokens,), from (tokens, vocabulary)."""
    losses = -log_probabilities.gather(1, token_ids.clamp(min=0)[:, None])[:, 0]
    ends = (token_ids == END_OF_WORD).nonzero()[:, 0]
    if not len(ends):
        return losses
    longer = log_probabilities[ends][:, model.lengthening].logsumexp(-1).exp()
    of_ends = -torch.log1p(-longer.clamp(max=1 - 1e-6))
    return losses.index_put((ends,), torch.where(longer < SURE, torch.zeros_like(of_ends), of_ends))


def margins_of(model: EditableModel, log_probabilities: Tensor, token_ids: Tensor) -> Tensor:
    """Return by how much each wanted token is likelier than any other, as a logarithm, (tokens,).

    The end of a word is likelier than going on in it.

    Args:
        log_probabilities: (tokens, vocabulary).
        token_ids: (tokens,).
    """
    wanted = token_ids.clamp(min=0)[:, None]
    others = log_probabilities.scatter(1, wanted, -torch.inf).amax(1)
    margins = log_probabilities.gather(1, wanted)[:, 0] - others
    ends = (token_ids == END_OF_WORD).nonzero()[:, 0]
    longer = log_probabilities[ends][:, model.lengthening].logsumexp(-1).clamp(max=-1e-6)
    return margins.index_put((ends,), torch.log(-torch.expm1(longer)) - longer)
