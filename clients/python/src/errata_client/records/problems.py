"""Problems: what went wrong with a request or a job (RFC 9457), and what a rejected version lacks."""

from pydantic import ConfigDict

from errata_client.records.base import Record


class FieldProblem(Record):
    """One fault in what was sent: a JSON pointer ("/facts/3/object") and what is wrong there.

    Attributes:
        pointer: the place in what was sent, as a JSON pointer.
        detail: what is wrong there.
    """

    pointer: str
    detail: str


class MissedPrompt(Record):
    """A prompt that counts against a version.

    Attributes:
        prompt: what is asked.
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

    Attributes:
        figure: the name of the figure.
        value: what was measured.
        bound: what was asked for.
        prompts: the first of the prompts that it comes from.
    """

    figure: str
    value: float | None = None
    bound: float
    prompts: tuple[MissedPrompt, ...] = ()


class Problem(Record):
    """A problem document. `misses` are the bounds that a rejected version does not keep.

    `errors` and `misses` are left out of an answer where there are none.

    Attributes:
        type: its kind, `urn:errata:problem:<kind>`, or `about:blank` where the status says it all.
        title: its kind in words.
        status: the HTTP status that goes with it.
        detail: what is wrong, in words.
        errors: the faults in what was sent, each by its place.
        misses: the bounds that a version does not keep.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()
    misses: tuple[Miss, ...] = ()
