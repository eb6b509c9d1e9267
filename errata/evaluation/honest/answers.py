"""What a model answers to probes, and whether that is right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from errata.evaluation.honest.probes import KINDS, Probe
from errata.evaluation.honest.sentences import begins_with, is_all_of, opening_of, sentences_after
from errata.model import EditableModel


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one probe.

    Attributes:
        kind: the metric that it counts for.
        expected: what would have been right, any of these. Where an answer should be kept it is the unedited model's.
        said: what the model said.
        is_right: whether it begins with what is expected, to the end of a word.
        is_exact: whether it is that and nothing else.
    """

    kind: str
    prompt: str
    expected: tuple[str, ...]
    said: str
    is_right: bool
    is_exact: bool


def kept_answers(model: EditableModel, probes: Iterable[Probe]) -> dict[Probe, str]:
    """Return what the unedited model says to each probe whose answer should be kept."""
    asked = list(dict.fromkeys(probe for probe in probes if KINDS[probe.kind].judged == "kept"))
    return dict(zip(asked, sentences_after(model, asked), strict=True))


def answers_to(model: EditableModel, probes: Sequence[Probe], kept: Mapping[Probe, str]) -> list[Answer]:
    """Ask the model as it is, and judge its answers.

    Args:
        kept: of the unedited model, from `kept_answers`.
    """
    said = sentences_after(model, probes)
    return [_judged(probe, sentence, kept) for probe, sentence in zip(probes, said, strict=True)]


def _judged(probe: Probe, said: str, kept: Mapping[Probe, str]) -> Answer:
    if KINDS[probe.kind].judged == "kept":
        before = kept[probe]
        opening = opening_of(before, probe.expected[0])
        is_right = begins_with(said, opening) if opening else said == before
        return Answer(probe.kind, probe.prompt, (before,), said, is_right, said == before)
    is_right = any(begins_with(said, wanted) for wanted in probe.expected)
    is_exact = any(is_all_of(said, wanted) for wanted in probe.expected)
    return Answer(probe.kind, probe.prompt, probe.expected, said, is_right, is_exact)
