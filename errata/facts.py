"""Facts: what an edit is made of, and the rules that a set of them keeps.

A fact is a triple (subject, relation, object). The relation is the phrase that follows the subject
("plays the sport of"), or a template with `{}` where the subject stands ("The mother tongue of {} is").
A set holds one object for each (subject, relation), as in Eq. 5 of the MEMIT paper, in a canonical order
that does not depend on how the facts arrived.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from errata.errors import FactProblem, InvalidFacts

MAX_FACTS = 10_000
MAX_PART_CHARACTERS = 500
MAX_PROMPT_CHARACTERS = 2 * MAX_PART_CHARACTERS
MAX_PROMPTS = 1000  # paraphrases, or neighbours, of one fact
MAX_WORDINGS = 20  # phrasings, or questions, of one fact: each costs a search as much as another fact does
NUMBERS_END = 2**53  # beyond it, readers of JSON do not agree on what a whole number is
PLACEHOLDER = "{}"
WORDINGS = ("phrasings", "questions")
LINE_BREAKS = ("\n", "\r")
# White space, and letters and marks of scripts that put no spaces between words: Thai, Lao, Tibetan, Burmese, Khmer;
# and those of Chinese and Japanese (radicals and punctuation, kana, bopomofo, ideographs, fullwidth forms).
SPACELESS = re.compile(
    r"[\s\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\ua000-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
HALF_A_CHARACTER = "holds half a surrogate pair, which is no character"


# What `find_problems` and `find_long_prompts` ask of each text, in the words of JSON Schema.
_BLANK = r"\s\u001c-\u001f\u0085"
_CONTROL = r"\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f"
# Control characters that count as white space, of which `Fact.id` needs one to tell its parts apart.
_CONTROL_SPACES = dict.fromkeys((*range(0x0B, 0x0D), *range(0x1C, 0x20), 0x85), " ")


def _schema_of_part(without: str = "", template: str = "") -> dict[str, Any]:
    some = f"[^{without}{_CONTROL}]*"
    pattern = f"^{some}([^{without}{_CONTROL}{_BLANK}]{template}){some}$"
    return {"minLength": 1, "maxLength": MAX_PART_CHARACTERS, "pattern": pattern}


def _schema_of_prompt(characters: int) -> dict[str, Any]:
    return {"minLength": 1, "maxLength": characters, "pattern": f"[^{_BLANK}]"}


def _describe_neighbor(schema: dict[str, Any]) -> None:
    schema["properties"]["prompt"] |= _schema_of_prompt(MAX_PROMPT_CHARACTERS)
    schema["properties"]["object"] |= _schema_of_prompt(MAX_PART_CHARACTERS)


def _describe_fact(schema: dict[str, Any]) -> None:
    fields = schema["properties"]
    fields["subject"] |= _schema_of_part(without="{}")
    fields["relation"] |= _schema_of_part(without="{}", template=r"|\{\}")
    fields["object"] |= _schema_of_part()
    fields["paraphrases"]["items"] |= _schema_of_prompt(MAX_PROMPT_CHARACTERS)
    for prompts in ("paraphrases", "neighbors"):
        fields[prompts]["maxItems"] = MAX_PROMPTS
    schema["x-rules"] = ["`phrasings` and `questions` name the subject", "a wording has one object"]
    for wordings in WORDINGS:
        fields[wordings]["items"] |= _schema_of_prompt(MAX_PROMPT_CHARACTERS)
        fields[wordings]["maxItems"] = MAX_WORDINGS
    bounds = {"exclusiveMinimum": -NUMBERS_END, "exclusiveMaximum": NUMBERS_END}
    fields["search"]["additionalProperties"] = {"type": ["number", "null"], **bounds}


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A prompt about another subject whose answer an edit must leave alone.

    Attributes:
        prompt: what is asked.
        object: what must still be answered.
    """

    # For those who read it from JSON with pydantic.
    __pydantic_config__: ClassVar = {"extra": "forbid", "json_schema_extra": _describe_neighbor}

    prompt: str
    object: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", trimmed(self.prompt))
        object.__setattr__(self, "object", normalised(self.object))


@dataclass(frozen=True, slots=True)
class Fact:
    """One (subject, relation, object), with the prompts that measure it.

    Beside its prompt, the object is learnt after each of its `phrasings`, which are prompts in other words, and as the
    answer to each of its `questions`, which a user asks through the model's chat template. All of them name the
    subject. `paraphrases` and `neighbors` only measure an edit.

    `search` holds hyperparameters that the target of this fact is searched for with, in place of the edit's. Facts
    about one subject share one search, so that what one of them brings holds for all. `space` says whether a space
    stands between its prompts and its object; unset, it goes by the prompt (`joint`).

    Its parts are normalised when it is made, so that two spellings that differ by accident are one fact with one
    prompt, and a space at a prompt's end, which a tokenizer would not forgive, is gone. Line breaks are no accident:
    a text of several lines stays as it is laid out, and a prompt may end with one, as those of chat templates do.

    Attributes:
        subject: what the fact is about.
        relation: the phrase that follows the subject, or a template with `{}` where the subject stands.
        object: what is to be said.
        paraphrases: prompts in other words that measure it, and are not learnt.
        neighbors: prompts about others, whose answers must stay.
        search: hyperparameters that its target is searched for with, in place of the edit's.
        space: whether a space stands between its prompts and its object; unset, that goes by the prompt.
        phrasings: prompts in other words that its object is learnt after.
        questions: what it is learnt to answer in chat.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "json_schema_extra": _describe_fact}

    subject: str
    relation: str
    object: str
    paraphrases: tuple[str, ...] = field(default=(), compare=False)
    neighbors: tuple[Neighbor, ...] = field(default=(), compare=False)
    search: Mapping[str, Any] = field(default_factory=dict, compare=False)
    space: bool | None = field(default=None, compare=False)
    phrasings: tuple[str, ...] = field(default=(), compare=False)
    questions: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name in ("subject", "object"):
            object.__setattr__(self, name, normalised(getattr(self, name)))
        object.__setattr__(self, "relation", normalised_prompt(self.relation))
        for name in ("paraphrases", *WORDINGS):
            object.__setattr__(self, name, tuple(map(trimmed, getattr(self, name))))

    @property
    def template(self) -> str:
        """The prompt with `{}` in place of the subject."""
        if PLACEHOLDER in self.relation:
            return self.relation
        return PLACEHOLDER + ("" if self.relation.startswith(LINE_BREAKS) else " ") + self.relation

    @property
    def prompt(self) -> str:
        """The text that the object should follow."""
        return self.template.replace(PLACEHOLDER, self.subject)

    @property
    def joint(self) -> str:
        """What stands between the prompt and the object."""
        return joint(self.prompt, self.space)

    @property
    def takes_context(self) -> bool:
        """Return True if other text may stand before the prompt, as context prefixes do."""
        return True

    @property
    def key(self) -> tuple[str, str]:
        """What makes two facts the same question: (subject, template)."""
        return self.subject, self.template

    @property
    def id(self) -> str:
        """Stable name of the question, the same in every version: `fact_` and 16 hex digits."""
        digest = hashlib.sha256("\x1f".join(self.key).encode()).hexdigest()
        return f"fact_{digest[:16]}"


@dataclass(frozen=True, slots=True)
class ChatQuestion(Fact):
    """A question to a model, in the words of its chat template, as a fact: its prompt begins a text.

    These words stay as they are, to the last space.
    """

    def __post_init__(self) -> None:
        for name in ("subject", "object"):
            object.__setattr__(self, name, normalised(getattr(self, name)))

    @property
    def takes_context(self) -> bool:
        """False: nothing stands before the beginning of a text."""
        return False


def folded(fact: Fact) -> tuple[str, str]:
    """The question without regard to case and spacing: what two facts share that are probably one."""
    return tuple("".join(part.casefold().split()) for part in fact.key)  # type: ignore[return-value]


def trimmed(prompt: str) -> str:
    """Return a prompt without the spaces at its ends. Line breaks there are a part of it, unless it is blank."""
    return prompt.strip(" \t") if prompt.strip() else ""


def normalised_prompt(text: str) -> str:
    """Return a prompt in Unicode NFC, trimmed, and if it has one line with runs of white space made one space.

    So accidents of typing are gone, and what is laid out in lines is kept.
    """
    text = trimmed(unicodedata.normalize("NFC", text).translate(_CONTROL_SPACES))
    return text if any(mark in text for mark in LINE_BREAKS) else " ".join(text.split())


def joint(prompt: str, space: bool | None = None) -> str:
    """Return what stands between a prompt and what follows it: one space, or nothing, as `space` says if it is given.

    Else nothing follows a prompt that ends in white space, or in a script that puts no spaces between words.
    """
    if space is not None:
        return " " if space else ""
    return "" if prompt and SPACELESS.search(prompt, len(prompt) - 1) else " "


def normalised(text: str) -> str:
    """Return a subject or an object in the same form; it neither begins nor ends with a line break."""
    return normalised_prompt(text.strip())


def places_of(subject: str, text: str) -> list[tuple[int, int]]:
    """Return where a subject begins and ends in a text, but for parts of longer words ("US" in "USB").

    Only letters of scripts with capitals, and digits, make a word longer. Other scripts have no spaces, or join small
    words to the next.
    """

    def goes_on(place: int) -> bool:
        around = text[max(place - 1, 0) : place + 1]
        return len(around) == 2 and all(char.isdigit() or char.lower() != char.upper() for char in around)

    places = (match.span() for match in re.finditer(re.escape(subject), text))
    return [place for place in places if not any(map(goes_on, place))]


class FactSet:
    """An immutable set of facts with one object per (subject, relation), in canonical order.

    Raises `InvalidFacts`, naming every bad fact by its place in `facts`.
    """

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        arrived = list(facts)
        problems = list(find_problems(arrived))
        if problems:
            raise InvalidFacts(problems)
        self._by_key: dict[tuple[str, str], Fact] = {}
        for fact in sorted(arrived, key=lambda fact: fact.key):
            twin = self._by_key.get(fact.key)
            self._by_key[fact.key] = _merged(twin, fact) if twin else fact

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FactSet) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def with_facts(self, facts: Iterable[Fact]) -> FactSet:
        """This set with `facts` put in; an object for a pair already known replaces it."""
        arriving = FactSet(facts)
        return FactSet({**self._by_key, **arriving._by_key}.values())


def search_of(about_one: Iterable[Fact]) -> Mapping[str, float]:
    """What the facts about one subject bring for their search."""
    return next((fact.search for fact in about_one if fact.search), {})


def by_subject(facts: Iterable[Fact]) -> list[tuple[Fact, ...]]:
    """The facts about each subject, subjects and facts in the order in which they come."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.subject, []).append(fact)
    return [tuple(group) for group in groups.values()]


def _merged(first: Fact, second: Fact) -> Fact:
    """One fact for two that say the same, measured on the prompts of both."""
    return replace(
        first,
        paraphrases=tuple(dict.fromkeys(first.paraphrases + second.paraphrases)),
        neighbors=tuple(dict.fromkeys(first.neighbors + second.neighbors)),
        search=first.search or second.search,
        space=second.space if first.space is None else first.space,
        phrasings=tuple(dict.fromkeys(first.phrasings + second.phrasings)),
        questions=tuple(dict.fromkeys(first.questions + second.questions)),
    )


def find_problems(facts: Sequence[Fact]) -> Iterator[FactProblem]:
    """Yield what is wrong with each fact alone, then each pair of facts that contradict one another."""
    if len(facts) > MAX_FACTS:
        yield FactProblem(MAX_FACTS, "subject", f"at most {MAX_FACTS} facts in one set, got {len(facts)}")
    first_with: dict[tuple[str, str], int] = {}
    wordings: dict[tuple[str, str, str], int] = {}
    searches: dict[str, Mapping[str, float]] = {}
    for index, fact in enumerate(facts):
        yield from _problems_of_one(index, fact)
        if fact.search and searches.setdefault(fact.subject, fact.search) != fact.search:
            detail = f"is another one than that of another fact about {fact.subject!r}, which share one search"
            yield FactProblem(index, "search", detail)
        yield from _contradicted_wordings(facts, index, wordings)
        first = first_with.setdefault(fact.key, index)
        if first == index:
            continue
        before = facts[first].object
        if before != fact.object:
            detail = (
                f"{fact.subject!r} with relation {fact.relation!r} has the object {before!r} in fact {first} "
                f"and {fact.object!r} here; a set holds one object for each subject and relation"
            )
            yield FactProblem(index, "object", detail)


def _contradicted_wordings(
    facts: Sequence[Fact], index: int, first_with: dict[tuple[str, str, str], int]
) -> Iterator[FactProblem]:
    """Yield the wordings of a fact that another one before it has with another object."""
    fact = facts[index]
    prompts = [("relation", fact.prompt), *(("phrasings", text) for text in fact.phrasings)]
    for name, text in (*prompts, *(("questions", text) for text in fact.questions)):
        kind = "question" if name == "questions" else "prompt"
        first = first_with.setdefault((fact.subject, kind, text), index)
        if facts[first].object != fact.object and not (name == "relation" and facts[first].key == fact.key):
            detail = f"{text!r} has the object {facts[first].object!r} in fact {first} and {fact.object!r} here"
            yield FactProblem(index, name, detail)


def _problems_of_one(index: int, fact: Fact) -> Iterator[FactProblem]:
    for name in ("subject", "relation", "object"):
        text: str = getattr(fact, name)
        if not text:
            yield FactProblem(index, name, "is empty")
        elif len(text) > MAX_PART_CHARACTERS:
            yield FactProblem(index, name, f"has {len(text)} characters; at most {MAX_PART_CHARACTERS} are taken")
        elif any(unicodedata.category(character) == "Cc" and character not in "\t\n\r" for character in text):
            yield FactProblem(index, name, "holds a control character")
        elif _has_half_a_character(text):
            yield FactProblem(index, name, HALF_A_CHARACTER)
    yield from _problems_of_prompts(index, fact)
    for name, value in fact.search.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < NUMBERS_END
        if not (is_number or value is None):
            field_name = f"search.{name}" if name.isidentifier() else "search"
            yield FactProblem(index, field_name, f"{name[:100]!r} must be a number")
        elif _has_half_a_character(name):
            yield FactProblem(index, "search", HALF_A_CHARACTER)
    if "{" in fact.subject or "}" in fact.subject:
        yield FactProblem(index, "subject", "holds a brace; the subject goes in as it is, without a template")
    braces = fact.relation.replace(PLACEHOLDER, "", 1)
    if "{" in braces or "}" in braces:
        yield FactProblem(
            index, "relation", "a template holds exactly one {} where the subject stands, and no other brace"
        )


def _problems_of_prompts(index: int, fact: Fact) -> Iterator[FactProblem]:
    """Yield what is wrong with the first bad one of its paraphrases, neighbours, phrasings and questions."""
    for texts in _further_texts(fact):
        for field_name, text, _ in texts:
            if not text or _has_half_a_character(text):
                detail = HALF_A_CHARACTER if text else "is empty, and takes at least 1 character"
                yield FactProblem(index, field_name, detail)
                break
            if field_name.startswith(WORDINGS) and (wrong := _wrong_with_wording(fact, text)):
                yield FactProblem(index, field_name, wrong)
                break


def _wrong_with_wording(fact: Fact, text: str) -> str | None:
    if PLACEHOLDER in text:
        return f"holds {PLACEHOLDER}; it names the subject itself"
    if not places_of(fact.subject, text):
        return f"does not name the subject, {fact.subject!r}, in these letters, and it is learnt there"
    return None


def find_long_prompts(facts: Sequence[Fact]) -> Iterator[FactProblem]:
    """Yield what is more than a service takes of each fact: too many prompts, and the first that is too long."""
    for index, fact in enumerate(facts):
        for name in ("paraphrases", "neighbors", *WORDINGS):
            most = MAX_WORDINGS if name in WORDINGS else MAX_PROMPTS
            if (count := len(getattr(fact, name))) > most:
                yield FactProblem(index, name, f"are {count}; at most {most} of one fact are taken")
        for texts in _further_texts(fact):
            for field_name, text, most in texts:
                if len(text) > most:
                    yield FactProblem(index, field_name, f"has {len(text)} characters; at most {most} are taken")
                    break


def _further_texts(fact: Fact) -> Iterator[Iterator[tuple[str, str, int]]]:
    """Yield the texts of each kind beside the triple: the name of each, itself, its most characters."""
    for kind in ("paraphrases", *WORDINGS):
        texts: tuple[str, ...] = getattr(fact, kind)
        yield ((f"{kind}[{place}]", text, MAX_PROMPT_CHARACTERS) for place, text in enumerate(texts))
    yield (
        (f"neighbors[{place}].{name}", getattr(neighbor, name), most)
        for place, neighbor in enumerate(fact.neighbors)
        for name, most in (("prompt", MAX_PROMPT_CHARACTERS), ("object", MAX_PART_CHARACTERS))
    )


def _has_half_a_character(text: str) -> bool:
    """Return True for halves of surrogate pairs, which JSON lets through and no file can hold."""
    return any("\ud800" <= character <= "\udfff" for character in text)
