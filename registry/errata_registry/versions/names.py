"""The names by which a version is asked for: its number, a word that always means one, or an alias."""

import re
from typing import Annotated, Any

from errata_client.records import NUMBERS_END
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

BASE = "base"
ACTIVE = "active"
PREVIOUS = "previous"
A_VERSION = "A version: its number, a name of it, `base`, `active`, or `previous`, which served before the active one"
RESERVED = (BASE, ACTIVE, PREVIOUS, "prune")  # the last is a route among those of versions
MAX_DIGITS = len(str(NUMBERS_END))
_WORD = "[A-Za-z][A-Za-z0-9_-]{0,63}"
ALIAS_PATTERN = rf"(?!({'|'.join(RESERVED)})$){_WORD}"


def is_alias(name: str) -> bool:
    """Return True if a version may be called that: a letter, then at most 63 letters, digits, `-` and `_`; not what
    means something else already."""
    return re.fullmatch(ALIAS_PATTERN, name) is not None


def version_name(value: Any) -> int | str:
    """Return a number as such, also where it came as text, and a word as it is.

    Raises `PydanticCustomError`, which is a `ValueError`, for what no version can be called.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        value = int(value)  # in an address all is text
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of numbers
        value = int(value)
    if type(value) is int and 0 <= value < NUMBERS_END:
        return value
    if isinstance(value, str) and re.fullmatch(_WORD, value):
        return value
    raise PydanticCustomError(
        "version", "must be the number of a version, a name of one, or `base`, `active` or `previous`"
    )


VersionNumber = Annotated[int, Field(ge=0, lt=NUMBERS_END)]
VersionName = Annotated[
    int | str,
    BeforeValidator(
        version_name,
        json_schema_input_type=VersionNumber
        | Annotated[str, Field(json_schema_extra={"pattern": f"^([0-9]{{1,{MAX_DIGITS - 1}}}|{_WORD})$"})],
    ),
]
"""What a request may call a version; `Versions.number` knows which one that is."""
