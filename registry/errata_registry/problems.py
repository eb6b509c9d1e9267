"""What there is to say of an error, as a problem document: the answer to a request and the outcome of a job alike."""

from collections.abc import Sequence

from errata_client.records import FieldProblem, Miss, Problem

from errata.errors import ErrataError, Place

TYPE_PREFIX = "urn:errata:problem:"


def problem(
    status: int, kind: str, detail: str, *, places: Sequence[Place] = (), misses: Sequence[Miss] = ()
) -> Problem:
    """Make a problem document of a kind that Errata has a name for, such as `gate-missed`."""
    return Problem(
        type=f"{TYPE_PREFIX}{kind}",
        title=kind.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        errors=tuple(FieldProblem(pointer=place.pointer, detail=place.detail) for place in places),
        misses=tuple(misses),
    )


def problem_of(error: ErrataError) -> Problem:
    """Tell of an error by its status and its kind."""
    return problem(error.status, error.kind, str(error), places=error.places)
