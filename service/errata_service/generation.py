"""What a generation is asked with, and how its tokens are counted."""

from typing import Annotated, Any, ClassVar, Self

from errata_client.records import BASE_VERSION, NUMBERS_END, Given, Text, Usage, rules
from errata_registry.jobs.requests import VersionNumber
from errata_registry.serving.aliases import ALIAS_PATTERN, is_alias
from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from errata_service.engine.events import Finished
from errata_service.engine.request import SequenceInput
from errata_service.engine.sampling import SamplingParams

MAX_PROMPTS = 256
MAX_PROMPT_CHARACTERS = 100_000
MAX_NEW_TOKENS = 2048
MAX_STOPS = 16
ONE_KIND_OF_PROMPT = "either `prompt` or `prompts` must be given, and not both"

Prompt = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
Stop = Annotated[Text, Field(min_length=1)]
Stops = Annotated[list[Stop], Field(max_length=MAX_STOPS)]


def _version(value: Any) -> int | str | None:
    if value is None or (isinstance(value, str) and is_alias(value)):
        return value
    if value == "base":
        return BASE_VERSION
    if isinstance(value, str) and value.isascii() and value.isdigit():  # in a query, numbers are texts
        value = int(value)
    if type(value) is int and 0 <= value < NUMBERS_END:
        return value
    raise PydanticCustomError("version", "must be the number of a version, a name of one, or `base`")


VersionAsked = (
    VersionNumber | Annotated[str, Field(json_schema_extra={"pattern": f"^([0-9]{{1,15}}|base|{ALIAS_PATTERN})$"})]
)


def one_or_several(value: Any) -> Any:
    """Take a text that stands alone as a list of one."""
    return (value,) if isinstance(value, str) else value


class GenerateRequest(Given):
    """One prompt or several, how to choose tokens, and the version to choose them under."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ONE_KIND_OF_PROMPT, examples=[{"prompt": "Michael Jordan plays the sport of", "max_new_tokens": 8}]
        )
    )

    prompt: Prompt | None = None
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] = 32
    temperature: Annotated[float, Field(ge=0, le=2, description="0 is greedy.")] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=1, lt=NUMBERS_END)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Each prompt's own draws begin from it.")] | None = None
    stop: Annotated[
        tuple[Stop, ...],
        Field(max_length=MAX_STOPS, description="Texts before which a completion ends; one may stand alone."),
        BeforeValidator(one_or_several, json_schema_input_type=Stop | Stops),
    ] = ()
    version: Annotated[
        int | str | None,
        Field(description="A version's number, a name of it, or `base`; the active one where it is absent."),
        BeforeValidator(_version, json_schema_input_type=VersionAsked | None),
    ] = None
    stream: Annotated[bool, Field(description="Server-sent events, one for each token.")] = False

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> Self:
        if (self.prompt is None) == (self.prompts is None):
            raise PydanticCustomError("prompt", ONE_KIND_OF_PROMPT)
        return self

    @property
    def all_prompts(self) -> tuple[str, ...]:
        """The prompts in order, however many there are."""
        if self.prompts is not None:
            return self.prompts
        assert self.prompt is not None
        return (self.prompt,)

    def sequence_input(self, prompt_ids: list[int]) -> SequenceInput:
        """Return what the engine needs to continue one of the prompts."""
        sampling = SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
        )
        return SequenceInput(
            prompt_ids=prompt_ids, max_new_tokens=self.max_new_tokens, sampling=sampling, stop=self.stop
        )


class GenerateQuery(GenerateRequest):
    """The same in the query of an address."""

    from_query: ClassVar[bool] = True


def usage_of(finished: Finished) -> Usage:
    """Count the tokens of one completion."""
    return Usage(prompt_tokens=finished.num_prompt_tokens, completion_tokens=len(finished.tokens))
