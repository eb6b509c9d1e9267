"""One error for each kind of failure, with the problem document."""

import re
from typing import Any

import pytest
from errata_client import Errata, errors

from tests.client.peer import Answer, Peer, problem


def tree_drawn(docstring: str) -> set[tuple[str, str]]:
    """(parent, child) for each line of a drawn tree."""
    edges = set()
    path = ["ErrataError"]
    for indent, name in re.findall(r"^    ((?:│   |    )*)[├└]── (\w+)", docstring, re.MULTILINE):
        depth = len(indent) // 4 + 1
        path[depth:] = [name]
        edges.add((path[depth - 1], name))
    return edges


def tree_of(kind: type) -> set[tuple[str, str]]:
    edges: set[tuple[str, str]] = set()
    children: list[type] = kind.__subclasses__()
    for child in children:
        edges |= {(kind.__name__, child.__name__)} | tree_of(child)
    return edges


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    assert tree_drawn(errors.__doc__ or "") == tree_of(errors.ErrataError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.StatusError),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (500, errors.ServerError),
        (503, errors.Unavailable),
        (504, errors.Unavailable),
    ],
)
def test_each_status_has_its_error_with_the_problem(peer: Peer, status: int, kind: type) -> None:
    peer.answers = [Answer(status, problem(status, "Title", "what happened"))]
    with Errata(peer.url, max_retries=0) as client, pytest.raises(errors.StatusError) as caught:
        client.model()
    assert type(caught.value) is kind
    assert caught.value.problem.detail == "what happened"
    assert str(caught.value) == f"{status} Title: what happened"


def test_an_unprocessable_body_names_each_place(peer: Peer, call: Any) -> None:
    faults = [{"pointer": f"/facts/{n}/object", "detail": "is too long"} for n in (0, 3)]
    peer.answers = [Answer(422, problem(422, "Invalid facts", "2 facts", errors=faults))]
    with pytest.raises(errors.Unprocessable) as caught:
        call("edit", [("s", "r", "o")])
    assert [(p.pointer, p.detail) for p in caught.value.problems] == [
        ("/facts/0/object", "is too long"),
        ("/facts/3/object", "is too long"),
    ]
    assert str(caught.value) == "422 Invalid facts: /facts/0/object: is too long (and 1 more)"


def test_answers_that_are_not_the_contracts(peer: Peer) -> None:
    peer.answers = [Answer(502, b"<html>proxy</html>"), Answer(200, b"<html>hello</html>")]
    with Errata(peer.url, max_retries=0) as client:
        with pytest.raises(errors.ServerError, match=r"^502 Bad Gateway$"):
            client.model()
        with pytest.raises(errors.UnexpectedAnswer, match=r"does not fit the contract"):
            client.model()
