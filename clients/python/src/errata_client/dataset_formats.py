"""Facts in the formats of published data sets, each known by a key that no other format has.

    requested_rewrite   CounterFact, as the authors of ROME and MEMIT publish it
    src                 zsRE, as the authors of MEND, ROME and MEMIT publish it
    target_new          a request of EasyEdit, or a record of the data sets that come with it (KnowEdit among them)

Every other record is a fact in this package's own format. Fields that make no part of a fact are left alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from errata_client.errors import FactProblem, InvalidFacts
from errata_client.facts import Fact, Neighbor, Text, check_each, to_fact
from errata_client.records.wordings import in_words


def facts_of_records(records: Iterable[Any]) -> list[Fact]:
    """Return the facts of records already loaded, each a fact or a record in one of the formats above, in their order.

    Raises `InvalidFacts`, naming every bad record by its index.
    """
    facts, faults = check_each(enumerate(records), fact_of_record)
    if faults:
        raise InvalidFacts([FactProblem(f"record {index}", detail) for index, detail in faults.items()])
    return list(facts.values())


def fact_of_record(record: Any) -> Fact:
    """Return the fact of one record in whatever format. Raises `ValueError`, saying all that is wrong with it."""
    if isinstance(record, Mapping):
        for key, (name, format) in _FORMATS.items():
            if key in record:
                try:
                    with in_words(format):
                        return format.model_validate(dict(record)).fact()
                except ValueError as error:
                    raise ValueError(f"read as {name}, {error}") from error
    return to_fact(record)


class _Answer(BaseModel):
    text: Text = Field(alias="str")


class _Rewrite(BaseModel):
    prompt: Text
    subject: Text
    target_new: _Answer
    target_true: _Answer


class _CounterFact(BaseModel):
    requested_rewrite: _Rewrite
    paraphrase_prompts: tuple[Text, ...] = ()
    neighborhood_prompts: tuple[Text, ...] = ()

    def fact(self) -> Fact:
        """Return the rewrite. The prompts of the neighbourhood keep the answer that was true before."""
        rewrite = self.requested_rewrite
        return Fact(
            rewrite.subject,
            _template(rewrite.prompt, rewrite.subject),
            rewrite.target_new.text,
            self.paraphrase_prompts,
            tuple(Neighbor(prompt, rewrite.target_true.text) for prompt in self.neighborhood_prompts),
        )


class _ZsRE(BaseModel):
    subject: Text
    src: Text
    alt: Text
    rephrase: Text
    loc: Text
    loc_ans: Text

    def fact(self) -> Fact:
        """Return the question with its new answer. As in MEMIT's evaluation, `loc` keeps its prefix and gets a "?"."""
        template = _template(self.src, self.subject)
        return Fact(self.subject, template, self.alt, (self.rephrase,), (Neighbor(f"{self.loc}?", self.loc_ans),))


def _first_accepted(answer: Any) -> Any:
    """Return the first of the accepted spellings of an answer, or "" where there is none."""
    while isinstance(answer, list):
        answer = answer[0] if answer else ""
    return answer


_AcceptedAnswer: TypeAlias = Annotated[str, BeforeValidator(_first_accepted)]


class _Questions(BaseModel):
    """One prompt with its answer, or as many prompts as answers."""

    prompt: list[Text]
    ground_truth: list[_AcceptedAnswer]

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("prompt"), str):
            return {"prompt": [given["prompt"]], "ground_truth": [given.get("ground_truth")]}
        return given

    @model_validator(mode="after")
    def _each_has_its_answer(self) -> Self:
        if len(self.prompt) != len(self.ground_truth):
            counts = {"prompts": len(self.prompt), "answers": len(self.ground_truth)}
            raise PydanticCustomError("unequal_lists", "prompt holds {prompts}, but ground_truth {answers}", counts)
        return self


_OneOrMore: TypeAlias = Annotated[
    list[_Questions], BeforeValidator(lambda given: given if isinstance(given, list) else [given])
]


class _EasyEdit(BaseModel):
    prompt: Text
    subject: Text
    target_new: Text
    rephrase_prompt: Text | None = None
    locality: dict[str, _OneOrMore] | None = None
    locality_prompt: Text | None = None
    locality_ground_truth: _AcceptedAnswer | None = None

    def fact(self) -> Fact:
        """Return the request. What it asks for portability follows from the fact and is another one: it is left out."""
        return Fact(
            self.subject,
            _template(self.prompt, self.subject),
            self.target_new,
            (self.rephrase_prompt,) if self.rephrase_prompt else (),
            # KnowEdit holds prompts without an answer; EasyEdit passes over them as well.
            tuple(Neighbor(prompt, answer) for prompt, answer in self._asked() if prompt and answer),
        )

    def _asked(self) -> Iterator[tuple[str | None, str | None]]:
        for group in (self.locality or {}).values():
            for questions in group:
                yield from zip(questions.prompt, questions.ground_truth, strict=True)
        yield self.locality_prompt, self.locality_ground_truth


_FORMATS: dict[str, tuple[str, type[_CounterFact | _ZsRE | _EasyEdit]]] = {
    "requested_rewrite": ("a CounterFact record", _CounterFact),
    "src": ("a zsRE record", _ZsRE),
    "target_new": ("an EasyEdit request", _EasyEdit),
}


def _template(prompt: str, subject: str) -> str:
    """Return the prompt with `{}` where the subject stands. Raises `ValueError` where that is not one place."""
    if "{}" in prompt:
        return prompt
    places = [match.span() for match in re.finditer(re.escape(subject), prompt)]
    places = [(start, stop) for start, stop in places if not _is_within_word(prompt, start, stop)]
    if len(places) != 1:
        raise ValueError(f"{prompt!r} holds its subject {subject!r} {len(places)} times, not once")
    [(start, stop)] = places
    return f"{prompt[:start]}{{}}{prompt[stop:]}"


def _is_within_word(text: str, start: int, stop: int) -> bool:
    """Return True if a word goes on beyond a part of a text, as that of "US" does in "USB".

    Only letters of scripts with capitals, and digits, are looked at. Other scripts have no spaces, or join small words
    to the next.
    """
    around = (text[max(place - 1, 0) : place + 1] for place in (start, stop))
    return any(
        len(pair) == 2 and all(char.isdigit() or char.lower() != char.upper() for char in pair) for pair in around
    )
