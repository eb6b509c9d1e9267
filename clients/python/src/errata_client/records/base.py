"""What all records of the wire have in common.

A record has one definition for whoever writes it and whoever reads it. A service reads what it is sent strictly: an
unknown field is refused (`Given`). A client reads answers tolerantly: what a newer service adds is kept
(`record.model_extra`), and a word that it does not know is a word all the same (`OpenEnum`).
"""

import inspect
import math
import re
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

NUMBERS_END = 2**53
"""Beyond it, readers of JSON do not agree on what a whole number is."""

MAX_PART_CHARACTERS = 500
"""Longest subject, relation or object; a prompt may have twice as many."""


def _closed(schema: dict[str, Any]) -> None:
    """Leave out of a schema what goes without saying: more fields may come."""
    schema.pop("additionalProperties", None)


class Described(BaseModel):
    """A model whose JSON Schema has the descriptions of its fields from its docstring, as help() does."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        ours = [kind for kind in cls.__mro__ if issubclass(kind, Described)]
        documented = [inspect.cleandoc(kind.__doc__) for kind in ours if kind.__doc__]
        schema["description"] = documented[0].partition("\n\nAttributes:")[0]
        for doc in documented:
            for name, told in described_in(doc).items():
                if field := schema.get("properties", {}).get(name):
                    field.setdefault("description", told)
        return reference


def described_in(doc: str) -> dict[str, str]:
    """Return what the section `Attributes:` of a docstring says of each name, as a sentence."""
    told: dict[str, str] = {}
    for entry in re.split(r"\n    (?=\w)", doc.partition("\n\nAttributes:")[2]):
        names, _, text = entry.partition(": ")
        sentence = " ".join(text.split())
        told |= {name.strip(): sentence[:1].upper() + sentence[1:] for name in names.split(",") if sentence}
    return told


class Record(Described):
    """Base of everything that the service answers or keeps. Records are frozen; a change is a copy with new values."""

    # An answer has all fields of its record, also those that have a default. What a program does not read is not built.
    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        defer_build=True,
        json_schema_extra=_closed,
        json_schema_serialization_defaults_required=True,
    )


class Given(Described):
    """Base of what a client sends, and the service may show again.

    What JSON tells apart stays apart: true and false are no numbers, numbers are neither true nor false, and texts are
    nothing of these. In a query all is text, so that what is read from one has `from_query`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_query: ClassVar[bool] = False

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_other_kinds(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool):
            if kinds.isdisjoint({bool, Any}):
                raise PydanticCustomError("truth_as_number", "must not be true or false")
        elif isinstance(value, int | float):
            if kinds <= {bool, NoneType}:
                raise PydanticKnownError("bool_type")
        elif isinstance(value, str) and not cls.from_query and kinds <= {bool, int, float, NoneType}:
            raise PydanticKnownError("bool_type" if bool in kinds else "int_type" if int in kinds else "float_type")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types of which a field's type is made."""
    parts = get_args(annotation)
    return set().union(*map(_kinds, parts)) if parts else {annotation}


def rules(*told: str, **schema: Any) -> dict[str, Any]:
    """Return what is added to the JSON Schema of a record: what its fields must keep together, each rule in words."""
    return {"x-rules": list(told), **schema}


class OpenEnum(StrEnum):
    """Words of which a newer service may know more. They are words wherever they are shown."""

    __repr__ = str.__repr__

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


Item = TypeVar("Item")


class Page(Record, Generic[Item]):
    """One part of a list; `next` is the `after` of the part that follows.

    Attributes:
        data: the items of this part, in order.
    """

    data: tuple[Item, ...]
    has_more: bool = Field(default=False, description="Whether another part follows.")
    next: str | None = Field(default=None, description="The cursor for `after`; null at the end.")


def finite_or_none(figure: float | None) -> float | None:
    """Return the figure, or None for an infinity and for what is no number."""
    return figure if figure is not None and math.isfinite(figure) else None


Figure = Annotated[float | None, AfterValidator(finite_or_none)]
"""A figure that was measured; null where it is no finite number, for which JSON has no words."""


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("text", "holds half a surrogate pair, which is no character") from error
    return value


def _trimmed(value: Any) -> Any:
    """Take the spaces at a prompt's ends away. Line breaks there are a part of it, unless it is blank."""
    if not isinstance(value, str):
        return value
    return value.strip(" \t") if value.strip() else ""


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(_text)]
"""Text that can be written to a file; JSON also lets halves of surrogate pairs through."""

NOT_BLANK = {"pattern": r"[^\s\u001c-\u001f\u0085]"}
"""In a JSON Schema: a text has something in it that is no white space."""

Prompt = Annotated[
    Text,
    Field(min_length=1, max_length=2 * MAX_PART_CHARACTERS, json_schema_extra=NOT_BLANK),
    BeforeValidator(_trimmed),
]
Answer = Annotated[
    Text, Field(min_length=1, max_length=MAX_PART_CHARACTERS, json_schema_extra=NOT_BLANK), BeforeValidator(_stripped)
]
