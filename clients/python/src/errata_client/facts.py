"""Facts and probes as they are sent: a `Fact`, a mapping with the same names, or a (subject, relation, object) tuple.

Only the shape is looked at here. What makes a fact a good one is the service's to say, in a 422.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import ConfigDict, StringConstraints, TypeAdapter
from pydantic.dataclasses import dataclass

from errata_client.errors import FactProblem, InvalidFacts
from errata_client.records import FactChange, FactName, Probe, StoredFact
from errata_client.records.wordings import in_words

MAX_FACTS = 10_000
"""As many as the service takes in one edit."""

P = TypeVar("P", bound=Hashable)
Made = TypeVar("Made")

Text: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
_STRICT_FIELDS = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT_FIELDS)
class Neighbor:
    """A prompt about another subject, with the answer that must stay as it is."""

    prompt: Text
    object: Text


@dataclass(frozen=True, config=_STRICT_FIELDS)
class Fact:
    """What the model shall say.

    `relation` is the phrase that follows the subject ("plays the sport of") or a template with `{}` where the
    subject stands ("The mother tongue of {} is"). The object is also learnt after `phrasings`, prompts in other words,
    and as the answer to `questions`, which are put through the model's chat template; all of them name the subject.
    `paraphrases` and `neighbors` only measure the edit; it is never trained on them. `search` holds hyperparameters of
    the search for its target, in place of the edit's; facts about one subject share them. `space` says whether a space
    stands between prompts and object; unset, there is none where the prompt's script has none. Raises `ValueError`
    where a part is missing, empty or of another type.
    """

    subject: Text
    relation: Text
    object: Text
    paraphrases: Sequence[Text] = ()
    neighbors: Sequence[Neighbor] = ()
    search: Mapping[str, float] = field(default_factory=dict)
    space: bool | None = None
    phrasings: Sequence[Text] = ()
    questions: Sequence[Text] = ()


FactInput: TypeAlias = Fact | Mapping[str, Any] | tuple[str, str, str]
FactReference: TypeAlias = str | StoredFact | FactChange | FactName
"""A fact that the service knows: its id, or a record of it."""

ProbeInput: TypeAlias = Probe | Mapping[str, Any] | tuple[str, str]

_FACT = TypeAdapter(Fact)
_FACTS = TypeAdapter(list[Fact])


def to_fact(given: FactInput) -> Fact:
    """Return the fact that is given in one of its three shapes. Raises `ValueError` where it has none of them."""
    if isinstance(given, tuple | list) and len(given) != 3:
        raise ValueError(f"has {len(given)} parts, not subject, relation and object")
    with in_words(Fact):
        return Fact(*given) if isinstance(given, tuple | list) else _FACT.validate_python(given)


def to_probe(given: ProbeInput) -> Probe:
    """Return the probe that is given in one of its three shapes. Raises `ValueError` where it has none of them."""
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise ValueError(f"has {len(given)} parts, not prompt and answer")
        given = {"prompt": given[0], "answer": given[1]}
    with in_words(Probe):
        return Probe.model_validate(given)


def check_each(placed: Iterable[tuple[P, Any]], make: Callable[[Any], Made]) -> tuple[dict[P, Made], dict[P, str]]:
    """Return what is made of the good ones, and what is wrong with those for which `make` raises `ValueError`.

    Each is under its place.
    """
    made: dict[P, Made] = {}
    faults: dict[P, str] = {}
    for place, given in placed:
        try:
            made[place] = make(given)
        except ValueError as error:
            faults[place] = str(error)
    return made, faults


def fact_bodies(inputs: Iterable[FactInput]) -> list[dict[str, Any]]:
    """Return the facts as the service takes them.

    Raises `InvalidFacts`, naming every bad one by its index, or where there are more than the service takes.
    """
    given = list(inputs)
    if len(given) > MAX_FACTS:
        problem = f"the service takes at most {MAX_FACTS:,} at once; make several edits of them"
        raise InvalidFacts([FactProblem(f"an edit of {len(given):,} facts", problem)])
    facts, faults = check_each(enumerate(given), to_fact)
    if faults:
        raise InvalidFacts([FactProblem(f"fact {index}", detail) for index, detail in faults.items()])
    bodies: list[dict[str, Any]] = _FACTS.dump_python(list(facts.values()), mode="json", exclude_defaults=True)
    return bodies


def probe_bodies(inputs: Iterable[ProbeInput]) -> list[dict[str, Any]]:
    """Return the probes as the service takes them. Raises `InvalidFacts`, naming every bad one by its index."""
    probes, faults = check_each(enumerate(inputs), to_probe)
    if faults:
        raise InvalidFacts([FactProblem(f"probe {index}", detail) for index, detail in faults.items()])
    return [{"prompt": probe.prompt, "answer": probe.answer} for probe in probes.values()]


def fact_ids(references: FactReference | Iterable[FactReference]) -> list[str]:
    """Return the ids of one fact or of several. Raises `TypeError` for what stands for none."""
    # Looked at first: a text, and a record too, is itself something that can be iterated over.
    several = [references] if isinstance(references, FactReference) else references
    return [_fact_id(reference) for reference in several]


def _fact_id(reference: FactReference) -> str:
    if isinstance(reference, str):
        return reference
    if isinstance(reference, FactReference):
        return reference.id
    raise TypeError(f"an id of a fact or a record of one is needed, got {reference!r}")
