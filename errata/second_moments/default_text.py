"""Which text second moments are collected from where nobody brings any (docs/method.md has what was measured)."""

from collections.abc import Iterable, Iterator

from errata.model import EditableModel
from errata.second_moments.local_text import LOCAL, local_texts, with_conversations
from errata.second_moments.own_text import OWN, own_texts

SMALL = 512  # width of the hidden states
# Families whose keys are alike at all names unless C has seen many: documentation has hardly any
# (benchmarks/key_separation.py, docs/real-models.md).
WITH_NAMES = ("gemma3", "gemma3_text")


def default_text(model: EditableModel) -> tuple[str, Iterable[str]]:
    """Return what the text is, in words, and the text, the same each time.

    An edit spares what C has seen. A model of a few million parameters knows little, and other text than it was trained
    on has hardly any of the keys that neighbours of a fact have: it writes all of it itself. Larger ones take minutes
    for that.
    """
    d_model, _ = model.matrix_shapes[0]
    if d_model < SMALL:
        return OWN, own_texts(model)
    documentation = with_conversations(model, local_texts())
    if model.architecture.name in WITH_NAMES:
        return f"{LOCAL} and {OWN}, by turns", _by_turns(documentation, own_texts(model))
    return LOCAL, documentation


def _by_turns(first: Iterable[str], second: Iterable[str]) -> Iterator[str]:
    for pair in zip(first, second, strict=False):
        yield from pair
