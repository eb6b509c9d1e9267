"""What a model answers to probes, and whether that is right."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from errata.evaluation.chat import ANSWER_TOKENS, answers_of
from errata.evaluation.honest.probes import KINDS, Judgement, Probe
from errata.evaluation.honest.sentences import begins_with, is_all_of, opening_of, sentences_after
from errata.facts import places_of
from errata.model import EditableModel
from errata.model.likelihood import likelihoods
from errata.model.tokens import target_ids


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one probe.

    Attributes:
        kind: the metric that it counts for.
        expected: what the probe expects. Where an answer should be kept it is the unedited model's.
        said: what the model said; where nothing is generated, what it finds likeliest.
        is_right: whether that is right, as the kind is judged.
        is_exact: whether it is what is expected and nothing else; None where that is not asked.
    """

    kind: str
    prompt: str
    expected: tuple[str, ...]
    said: str
    is_right: bool
    is_exact: bool | None = None


def askable(model: EditableModel, probes: Sequence[Sequence[Probe]]) -> list[list[Probe]]:
    """Return the probes of each case without those whose premise the unedited model does not say."""
    premises = list(dict.fromkeys(probe.premise for probe in chain.from_iterable(probes) if probe.premise))
    said = dict(zip(premises, sentences_after(model, premises), strict=True))
    known = {premise for premise, sentence in said.items() if _said(premise, sentence).is_right}
    return [[probe for probe in of_case if probe.premise is None or probe.premise in known] for of_case in probes]


def kept_answers(model: EditableModel, probes: Iterable[Probe]) -> dict[Probe, str]:
    """Return what the unedited model says to each probe whose answer should be kept."""
    asked = list(dict.fromkeys(probe for probe in probes if KINDS[probe.kind].judged == "kept"))
    return dict(zip(asked, sentences_after(model, asked), strict=True))


def answers_to(model: EditableModel, probes: Sequence[Probe], kept: Mapping[Probe, str]) -> list[Answer]:
    """Ask the model as it is, and judge its answers.

    Args:
        kept: of the unedited model, from `kept_answers`.
    """

    def generated(judge: Callable[[Probe, str], Answer]) -> Callable[[Sequence[Probe]], list[Answer]]:
        return lambda some: list(map(judge, some, sentences_after(model, some)))

    judges: dict[Judgement, Callable[[Sequence[Probe]], list[Answer]]] = {
        "said": generated(_said),
        "unsaid": generated(_unsaid),
        "kept": generated(lambda probe, sentence: _kept(probe, sentence, kept[probe])),
        "named": lambda some: _named(model, some),
        "likeliest": lambda some: _likeliest(model, some),
    }
    answers: dict[int, Answer] = {}
    for judgement, judge in judges.items():
        places = [place for place, probe in enumerate(probes) if KINDS[probe.kind].judged == judgement]
        answers |= zip(places, judge([probes[place] for place in places]), strict=True)
    return [answers[place] for place in range(len(probes))]


def _said(probe: Probe, sentence: str) -> Answer:
    is_right = any(begins_with(sentence, wanted) for wanted in probe.expected)
    is_exact = any(is_all_of(sentence, wanted) for wanted in probe.expected)
    return Answer(probe.kind, probe.prompt, probe.expected, sentence, is_right, is_exact)


def _unsaid(probe: Probe, sentence: str) -> Answer:
    return Answer(probe.kind, probe.prompt, probe.expected, sentence, not _said(probe, sentence).is_right)


def _kept(probe: Probe, sentence: str, before: str) -> Answer:
    opening = opening_of(before, probe.expected[0])
    is_right = begins_with(sentence, opening) if opening else sentence == before
    return Answer(probe.kind, probe.prompt, (before,), sentence, is_right, sentence == before)


def _named(model: EditableModel, probes: Sequence[Probe]) -> list[Answer]:
    longest = [max(len(target_ids(model.tokenizer, text)) for text in probe.expected) for probe in probes]
    num_tokens = ANSWER_TOKENS + max(longest, default=0)
    said = answers_of(model, [probe.text for probe in probes], num_tokens)
    return [
        Answer(probe.kind, probe.prompt, probe.expected, text, any(places_of(one, text) for one in probe.expected))
        for probe, text in zip(probes, said, strict=True)
    ]


def _likeliest(model: EditableModel, probes: Sequence[Probe]) -> list[Answer]:
    """Compare the likelihoods of short answers. In a model that left the finite numbers none is the likeliest."""
    pairs = [(probe.text, text) for probe in probes for text in (*probe.expected, *probe.others)]
    found = dict(zip(pairs, likelihoods(model, pairs), strict=True))
    answers = []
    for probe in probes:
        nlls = {text: found[probe.text, text].nll for text in (*probe.expected, *probe.others)}
        said = min(nlls, key=lambda text: nlls[text])
        is_right = all(nlls[one] < nlls[other] for one in probe.expected for other in probe.others)
        answers.append(Answer(probe.kind, probe.prompt, probe.expected, said, is_right))
    return answers
