"""What jobs are asked for with: the bodies of requests, which are also kept with each job.

They are read strictly: an unknown field is refused. Facts are read as what the library takes (`errata.facts.Fact`), and
stay that from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from errata_client.records import MAX_PART_CHARACTERS, NOT_BLANK, NUMBERS_END, Gate, Given, Text, rules
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from errata.facts import MAX_FACTS, Fact
from errata_registry.versions.names import VersionName, VersionNumber

if TYPE_CHECKING:
    from errata.evaluation.records import Record, References

MethodName = Literal["memit", "rome", "ft", "locft", "emmet", "alphaedit", "mend", "kn"]
"""The editing methods (`errata.methods.METHODS`)."""

MAX_NOTE_CHARACTERS = 2000
DEFAULT_TRIES = 3
BOUNDS_ON_FACTS = ("min_said", "min_kept", "min_efficacy")
"""The bounds of a gate that an edit with `partial` asks only where it gives them."""

FACT_ID = r"^fact_[0-9a-f]{16}$"


def _hyperparameter(value: Any) -> Any:
    if value is None:  # as `GET /model` shows one that is unset
        return value
    for number in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(number, int | float) or not -NUMBERS_END < number < NUMBERS_END:
            raise PydanticCustomError("hyperparameter", "must be a number, or a list of layer numbers")
    return value


FactIds = Annotated[tuple[Annotated[str, Field(pattern=FACT_ID)], ...], Field(max_length=MAX_FACTS)]
_NUMBER = {"type": "number", "exclusiveMinimum": -NUMBERS_END, "exclusiveMaximum": NUMBERS_END}
Hyperparameter = Annotated[
    Any,
    AfterValidator(_hyperparameter),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER}, {"type": "null"}]}),
]
Hyperparameters = Annotated[
    dict[Text, Hyperparameter],
    Field(description="By the names that `GET /model` lists for the method, within its bounds."),
]
Partial = Annotated[bool, Field(description="Whether the version may go live though some of its facts are not said.")]
Tries = Annotated[
    int,
    Field(
        ge=1,
        le=5,
        description="Builds at most until all facts are said; each but the first searches harder for those that are "
        "not.",
    ),
]
Note = Annotated[Text, Field(max_length=MAX_NOTE_CHARACTERS)]
Seed = Annotated[int, Field(ge=0, lt=NUMBERS_END)]
Part = Annotated[Text, Field(min_length=1, max_length=MAX_PART_CHARACTERS, json_schema_extra=NOT_BLANK)]
TracedTemplate = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=2 * MAX_PART_CHARACTERS,
        # `{}` stands there once.
        json_schema_extra={"pattern": r"^((?!\{\})[\s\S])*\{\}((?!\{\})[\s\S])*$"},
    ),
]


# What fields must keep together, in the words of the schema and of the fault alike.
SOMETHING = "at least one fact must be put in (`facts`) or withdrawn (`retract`)"
PUT_IN = "is put in by the same edit (`facts`)"
USE_OF_REFERENCES = "are of use with `records` and `generation` only"
PROMPT_OR_FACTS = "give either one prompt (`prompt`, `subject`) or `facts`"
SEVERED_FACTS = "`severed_only` goes with `facts`"


class EditOptions(Given):
    """What may be said of any edit, beside the facts that it is about.

    Attributes:
        base: the version to build on, by its number or a name of it; the active one when the job starts where none
            is given.
        method: the editing method.
        activate: whether the version goes live if it passes its gate and the probes.
        gate: the bounds that it must keep to go live.
        note: a word on it, which is kept.
        dry_run: whether only to measure, and to make no version.
    """

    base: VersionName | None = None
    method: MethodName = "memit"
    activate: bool = True
    gate: Gate = Gate()
    partial: Partial = False
    tries: Tries = DEFAULT_TRIES
    hparams: Hyperparameters = Field(default={})
    note: Note | None = None
    dry_run: bool = False


class EditRequest(EditOptions):
    """The body of `POST /edits`: facts to put in, and ids of facts to withdraw.

    The facts hold one object for each subject and relation, and one `search` for each subject.

    Attributes:
        facts: facts to put in.
        retract: ids of facts to withdraw.
    """

    model_config = ConfigDict(json_schema_extra=rules(SOMETHING, f"no fact of `retract` {PUT_IN}"))

    facts: Annotated[tuple[Fact, ...], Field(max_length=MAX_FACTS)] = ()
    retract: FactIds = ()

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if not self.facts and not self.retract:
            raise PydanticCustomError("nothing", SOMETHING)
        put_in = {fact.id for fact in self.facts} if self.retract else set()
        for index, fact_id in enumerate(self.retract):
            if fact_id in put_in:
                raise PydanticCustomError("put_in", PUT_IN, {"index": index})
        return self

    @property
    def goes_live(self) -> bool:
        """Whether the version is to be activated if it passes its gate."""
        return self.activate and not self.dry_run


class RetractRequest(EditOptions):
    """The body of `POST /facts/retract`: ids of facts to withdraw.

    Attributes:
        ids: ids of the facts to withdraw.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["fact_0123456789abcdef"]}]})

    ids: Annotated[FactIds, Field(min_length=1)]

    def as_edit(self) -> EditRequest:
        """Return the edit that withdraws them."""
        options = {name: getattr(self, name) for name in self.model_fields_set - {"ids"}}
        return EditRequest(retract=self.ids, **options)


class RetryRequest(Given):
    """The body of `POST /edits/{id}/retry`.

    `hparams` are those of the search for the facts that did not take; without any, the search is stronger than it was.
    What else is not given, but for `partial` and `tries`, is as in the edit that is tried again.

    Attributes:
        base: the version to build on, by its number or a name of it.
        activate: whether the version goes live if it passes its gate and the probes.
        gate: the bounds that it must keep to go live.
        note: a word on it, which is kept.
        dry_run: whether only to measure, and to make no version.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"hparams": {"num_steps": 50}}]})

    base: VersionName | None = None
    activate: bool | None = None
    gate: Gate = Gate()
    partial: Partial = False
    tries: Tries = DEFAULT_TRIES
    hparams: Hyperparameters = Field(default={})
    note: Note | None = None
    dry_run: bool = False


class RebuildRequest(Given):
    """Build the dropped weights of a version again."""

    rebuild: VersionNumber


class MeasurementRequest(Given):
    """What may be asked of any measurement.

    Attributes:
        seed: decides about all that is random in it.
        note: a word on it, which is kept.
    """

    seed: Seed = 0
    note: Note | None = None


class EvaluationRequest(MeasurementRequest):
    """The body of `POST /evaluations`.

    `version` null is the one that is active when this is accepted. `records` null are the version's own facts with
    their paraphrases and neighbours; else they have one of the forms that `errata.evaluation.read_records`
    reads. `references` are the entries of CounterFact's `attribute_snippets.json`, for consistency.

    Attributes:
        version: the version to measure, by its number or a name of it; the active one where none is given.
        records: records of CounterFact, zsRE, EasyEdit, QAEdit, WikiBigEdit or MQuAKE; the version's own facts where
            there are none.
        references: entries of CounterFact's `attribute_snippets.json`, for consistency.
        zsre_object: which answer of a zsRE record is its object.
        generation: whether to generate texts and measure them.
        prose: whether to measure running text.
        honest: whether to ask as critics do, by what the version says of itself and in other forms.
    """

    model_config = ConfigDict(json_schema_extra=rules(f"`references` {USE_OF_REFERENCES}"))

    version: VersionName | None = None
    records: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MAX_FACTS)] | None = None
    references: tuple[Any, ...] | None = None
    zsre_object: Literal["alt", "answers"] = "alt"
    generation: bool = False
    prose: bool = True
    honest: bool = False

    @model_validator(mode="after")
    def _references_have_a_use(self) -> Self:
        if self.references is not None and (self.records is None or not self.generation):
            raise PydanticCustomError("no_use", USE_OF_REFERENCES)
        return self

    def read_references(self) -> References | None:
        """Raises `InvalidFacts`, naming the entries of `references` that are wrong."""
        from errata.evaluation import reference_texts  # torch is needed for nothing else here

        return None if self.references is None else reference_texts(self.references)

    def read_records(self) -> list[Record]:
        """Raises `InvalidFacts`, naming the `records` that are wrong, of which there must be some."""
        from errata.evaluation import read_records

        assert self.records is not None
        return read_records(self.records, zsre_object=self.zsre_object, references=self.read_references())


class TraceRequest(MeasurementRequest):
    """The body of `POST /traces`: one prompt about a subject, or facts that the model should know.

    `prompt` holds `{}` where the subject stands; `answer` null is what the model itself says. The rest is named as in
    `errata.tracing`; `window` null is a third of the layers. `severed_only` leaves out what the proposal of layers does
    not need.

    Attributes:
        prompt: one prompt, with `{}` where the subject stands.
        subject: what the prompt is about.
        answer: the answer to trace; the model's own where none is given.
        facts: facts to trace, in place of a prompt.
        window: layers that are restored or severed together; a third of them where none is given.
        noise_level: how much noise corrupts the subject, in standard deviations of the model's embeddings.
        num_samples: how often noise is drawn for each prompt.
        severed_only: whether to leave out what the proposal of layers does not need.
    """

    model_config = ConfigDict(json_schema_extra=rules(PROMPT_OR_FACTS, SEVERED_FACTS))

    prompt: TracedTemplate | None = None
    subject: Part | None = None
    answer: Part | None = None
    facts: Annotated[tuple[Fact, ...], Field(min_length=1, max_length=MAX_FACTS)] | None = None
    window: Annotated[int, Field(ge=1, lt=NUMBERS_END)] | None = None
    noise_level: Annotated[float, Field(gt=0, le=1000)] = 3.0
    num_samples: Annotated[int, Field(ge=1, le=1000)] = 10
    severed_only: bool = False

    @model_validator(mode="after")
    def _prompt_or_facts(self) -> Self:
        if self.facts is not None:
            if (self.prompt, self.subject, self.answer) != (None, None, None):
                raise PydanticCustomError("both", PROMPT_OR_FACTS)
        elif self.prompt is None or self.subject is None:
            raise PydanticCustomError("neither", PROMPT_OR_FACTS)
        elif self.severed_only:
            raise PydanticCustomError("severed_only", SEVERED_FACTS)
        return self


def completed_gate(gate: Gate, defaults: Gate) -> Gate:
    """Return these bounds, with those of `defaults` where none was given; one that is given as null stays null."""
    return defaults.model_copy(update={name: getattr(gate, name) for name in gate.model_fields_set})
