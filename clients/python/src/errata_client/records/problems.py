"""Problems: what went wrong with a request or a job (RFC 9457), and what a rejected version lacks."""

from pydantic import ConfigDict

from errata_client.records.base import Record


class FieldProblem(Record):
    """One fault in what was sent: a JSON pointer ("/facts/3/object") and what is wrong there."""

    pointer: str
    detail: str


class MissedPrompt(Record):
    """A prompt that counts against a version.

    Attributes:
        expected: what should be said after it.
        fact: id of the fact that it belongs to.
        said: what the version says instead, where that was looked at.
    """

    prompt: str
    expected: str
    fact: str | None = None
    said: str | None = None


class Miss(Record):
    """A figure of a version that is out of its bound: null where it was not measured or is no finite number.

    `prompts` are the first of the prompts that the figure comes from.
    """

    figure: str
    value: float | None = None
    bound: float
    prompts: tuple[MissedPrompt, ...] = ()


class Problem(Record):
    """A problem document. `misses` are the bounds that a rejected version does not keep.

    `errors` and `misses` are left out of an answer where there are none.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()
    misses: tuple[Miss, ...] = ()
