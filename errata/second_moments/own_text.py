"""Text that a model writes by itself, for its second moments: it goes on from the names of well-known things."""

import itertools
import random
from collections.abc import Iterator

from errata.model import EditableModel
from errata.model.sampling import sample_texts
from errata.well_known import well_known

OWN = "text that the model writes by itself"
TOKENS = 96  # of a text, the name included
TOP_K = 1_000  # that each token is drawn from: nearly all that is ever likely
AT_ONCE = 64


def own_texts(model: EditableModel) -> Iterator[str]:
    """Yield texts without end, the same each time, about one well-known thing after another."""
    names = sorted({name for relation in well_known() for pair in relation.facts.items() for name in pair})
    random.Random(0).shuffle(names)
    for first in itertools.count(step=AT_ONCE):
        begun = [names[place % len(names)] for place in range(first, first + AT_ONCE)]
        yield from sample_texts(model, begun, num_tokens=TOKENS, top_k=TOP_K, seed=first)
