"""Text that a small model writes by itself, for its second moments.

An edit spares what C has seen, and a model of a few million parameters knows little: other text than it was trained on
has hardly any of the keys that neighbours of a fact have (docs/method.md). So it goes on from the names of well-known
things. Larger models take minutes for that, and are edited no better for it.
"""

import itertools
import random
from collections.abc import Iterator

from errata.model import EditableModel
from errata.model.sampling import sample_texts
from errata.well_known import well_known

OWN = "text that the model writes by itself"
SMALL = 512  # width of the hidden states
TOKENS = 96  # of a text, the name included
TOP_K = 1_000  # that each token is drawn from: nearly all that is ever likely
AT_ONCE = 64


def is_small(model: EditableModel) -> bool:
    """Return True if a model's second moments are to be of its own text."""
    d_model, _ = model.matrix_shapes[0]
    return d_model < SMALL


def own_texts(model: EditableModel) -> Iterator[str]:
    """Yield texts without end, the same each time, about one well-known thing after another."""
    names = sorted({name for relation in well_known() for pair in relation.facts.items() for name in pair})
    random.Random(0).shuffle(names)
    for first in itertools.count(step=AT_ONCE):
        begun = [names[place % len(names)] for place in range(first, first + AT_ONCE)]
        yield from sample_texts(model, begun, num_tokens=TOKENS, top_k=TOP_K, seed=first)
