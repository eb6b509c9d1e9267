"""Layers to try, found by a short causal trace of a few facts that the model knows."""

from collections.abc import Callable, Sequence

from errata.errors import TracingError
from errata.evaluation import Record
from errata.facts import Fact
from errata.model import EditableModel
from errata.tracing.fact_trace import known_facts, trace_facts
from errata.tracing.noise import Noise
from errata.tuning.grid import LONGEST_RANGE, LayerRange

NUM_FACTS = 8
NUM_SAMPLES = 3  # corrupted runs of each fact; the paper takes ten


def traced_layers(
    model: EditableModel,
    records: Sequence[Record],
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LayerRange:
    """Return the layers that a trace of `NUM_FACTS` known facts proposes; empty if it does not speak for any.

    No more than `LONGEST_RANGE` around the peak are taken, and the last block, which must stay as it is, never. The
    trace takes a part of what one trial takes: only hidden states are restored, with modules severed.

    Args:
        records: whose old objects the model may know.
        on_progress: called with (facts traced, facts in all).
    """
    facts = [Fact(one.fact.subject, one.fact.template, one.case.old) for one in records if one.case.old is not None]
    known = known_facts(model, facts)[:NUM_FACTS] if facts else []
    if not known:
        return ()
    noise = Noise.for_subjects(model, [fact.subject for fact in facts], num_samples=NUM_SAMPLES, seed=seed)
    try:
        proposal = trace_facts(model, known, noise, kinds=(), on_progress=on_progress).proposal
    except TracingError:  # an object whose first token the prompt already gives away, for instance
        return ()
    layers = [layer for layer in proposal.layers if layer < model.num_layers - 1]
    nearest = sorted(layers, key=lambda layer: (abs(layer - proposal.peak), layer))[:LONGEST_RANGE]
    return tuple(sorted(nearest))
