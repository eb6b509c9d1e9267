"""Propose layers to edit from a trace."""

from dataclasses import dataclass

from errata.tracing.averages import Average

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Proposal:
    """A contiguous range of layers to edit, and the evidence for it.

    Attributes:
        layers: the layers, ascending; empty where severing the MLPs costs nothing that can be told from zero.
        peak: the layer at which the gap is largest.
        gap: what severing the MLPs costs at the subject's last token, by the layer that the restored state enters.
        threshold: share of the peak that the gap has in all of `layers`.
    """

    layers: tuple[int, ...]
    peak: int
    gap: Average
    threshold: float


def propose_layers(gap: Average, threshold: float = THRESHOLD) -> Proposal:
    """Return the layers around the largest gap in which the gap is at least `threshold` of it.

    The gap at layer l is AIE(nothing severed) - AIE(MLPs severed) of the hidden state that enters layer l at the
    subject's last token: how much of what this state brings back goes through the MLPs of layer l and later at that
    token. Where it is large, MLPs from l on still have to do their part; where it has fallen, they have done it. So the
    range ends with the last layer whose MLP, with those after it, still carries that share of the largest gap.

    MEMIT's authors take the layers where the gap is largest from a figure (3 to 8 in GPT-J) and name no number; half of
    the peak is a choice. Their figure restores the state that *leaves* a layer, which here enters the next one, so the
    same rule read there gives numbers one lower. It has no place for the embeddings, and so none for what the first
    MLP alone does.

    Limits. It tells where recall passes, which need not be where an edit works best (Hase et al., arXiv 2301.04213,
    found the two hardly related): measure an edit of these layers, and of others, before you keep to it. It is as good
    as its facts: of one kind, or few, they say little of others. It depends on the noise, which in a model that guesses
    well without the subject takes little away. The gap is a difference of averages, not additive over layers; MLPs
    that do the same work twice hide one another. And it looks at the subject's last token alone.

    Args:
        gap: by layer, one more than the model has (see `PromptTrace.severed`), over two or more facts to be of use.
    """
    by_layer = gap.mean[:-1]
    peak = max(range(len(by_layer)), key=by_layer.__getitem__)
    if not gap.half_width or by_layer[peak] <= gap.half_width[peak]:
        return Proposal((), peak, gap, threshold)
    first = last = peak
    while first > 0 and by_layer[first - 1] >= threshold * by_layer[peak]:
        first -= 1
    while last + 1 < len(by_layer) and by_layer[last + 1] >= threshold * by_layer[peak]:
        last += 1
    return Proposal(tuple(range(first, last + 1)), peak, gap, threshold)
