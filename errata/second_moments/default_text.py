"""Which text second moments are collected from where nobody brings any (docs/method.md has what was measured)."""

from collections.abc import Iterable
from itertools import chain

from errata.model import EditableModel
from errata.second_moments.local_text import LOCAL, local_texts, with_conversations
from errata.second_moments.own_text import OWN, own_texts

SMALL = 512  # width of the hidden states
# Families whose keys are alike at all names unless C has seen many: documentation has hardly any
# (benchmarks/key_separation.py, docs/real-models.md).
WITH_NAMES = ("gemma3", "gemma3_text")


def default_text(model: EditableModel) -> tuple[str, Iterable[str]]:
    """Return a name of the text for the log, and the text's documents, the same ones in the same order each time.

    An edit spares the keys that C was collected from. A small model knows little beyond what it was trained on, so
    documentation has few of the keys of a fact's neighbours, and the model writes all of its text itself. A large model
    would take minutes for that.
    """
    d_model, _ = model.matrix_shapes[0]
    if d_model < SMALL:
        return OWN, own_texts(model)
    documentation = with_conversations(model, local_texts())
    if model.architecture.name in WITH_NAMES:
        return f"{LOCAL} and {OWN}, by turns", chain.from_iterable(zip(documentation, own_texts(model), strict=False))
    return LOCAL, documentation
