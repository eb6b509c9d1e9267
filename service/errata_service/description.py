"""The OpenAPI description of the running service: what it asks for and what it may answer, errors included.

FastAPI describes each route. What may happen to any request is added here: that it is refused for its key, its origin
or its size, that it is malformed, that something goes wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

from errata_client.records import FieldProblem, Problem, described_in
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from errata.facts import Fact, Neighbor
from errata_service.connections import ALWAYS_ANSWERED
from errata_service.examples import exemplify, named_in
from errata_service.generation import GenerateRequest
from errata_service.problems import MEDIA_TYPE, OPENAI_ROUTES, OpenAIError, openai_status

_EXAMPLE = Problem(
    type="urn:errata:problem:invalid-request",
    title="Invalid request",
    status=422,
    detail="/facts/3/object: is empty",
    errors=(FieldProblem(pointer="/facts/3/object", detail="is empty"),),
)

UNREAD = "Not HTTP, or a request whose line and headers have more than 64 KiB"


OF_GENERATION = described_in(cleandoc(GenerateRequest.__doc__ or ""))
PARAMETERS = {
    "after": "The part of the list behind this one: what an earlier answer had as `next`.",
    "edit_id": "The id of an edit.",
    "evaluation_id": "The id of an evaluation.",
    "trace_id": "The id of a trace.",
    "fact_id": "The id of a fact.",
    "name": "A name: of a version, a figure or a model.",
    "format": "What the weights are wanted as.",
    "Last-Event-ID": "The id of an event; what happened behind it is told.",
}


def describe_truly(app: FastAPI) -> None:
    """Make the description of `app` say what may be answered beside what each route says of itself."""
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of a route that may answer with these problems."""
    return {status: {"description": HTTPStatus(status).phrase} for status in statuses}


def _description(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    asks_for_keys = app.state.keys is not None
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _describe_parameters(operation)
            operation["responses"] = _responses(path, operation)
            if not asks_for_keys:
                operation.pop("security", None)
                operation["responses"].pop("401", None)
    components = schema["components"]
    if not asks_for_keys:
        components.pop("securitySchemes", None)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    _, problems = models_json_schema(
        [(Problem, "serialization"), (OpenAIError, "serialization")], ref_template="#/components/schemas/{model}"
    )
    components["schemas"] |= problems["$defs"]
    _describe_facts(components["schemas"])
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    bodies = [operation["requestBody"] for operation in operations if "requestBody" in operation]
    exemplify(components["schemas"], named_in(bodies, components["schemas"]))
    components["schemas"]["Problem"]["examples"] = [_EXAMPLE.model_dump(mode="json")]
    # FastAPI makes floats of the bounds of whole numbers, of which the largest would be rounded.
    app.openapi_schema = json.loads(json.dumps(schema), parse_float=_number)
    return app.openapi_schema


def _describe_parameters(operation: Mapping[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _of_text(parameter["schema"])
        if not parameter.get("description"):
            parameter["description"] = OF_GENERATION.get(parameter["name"]) or PARAMETERS[parameter["name"]]


def _describe_facts(schemas: Mapping[str, Any]) -> None:
    """Describe the library's facts, which are no records, by their docstrings."""
    for kind in (Fact, Neighbor):
        assert kind.__doc__ is not None
        schema, doc = schemas[kind.__name__], cleandoc(kind.__doc__)
        schema["description"] = doc.partition("\n\nAttributes:")[0]
        for name, told in described_in(doc).items():
            schema["properties"][name]["description"] = told


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _of_text(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter, which is absent where it would be null: the text `null` is a text."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if not options:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**rest, "anyOf": options} if len(options) > 1 else {**rest, **options[0]}


def _responses(path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers of an operation in the order of their status, each problem in the form that it comes in."""
    is_openai = path.startswith(OPENAI_ROUTES)
    media_type, name = ("application/json", "OpenAIError") if is_openai else (MEDIA_TYPE, "Problem")
    content: dict[str, Any] = {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    answers = {status: response for status, response in operation["responses"].items() if int(status) < 400}
    problems = {int(status) for status in operation["responses"] if int(status) >= 400} | set(_common(path, operation))
    if is_openai:
        problems = {openai_status(status) for status in problems}
    for status in sorted(problems):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    unread = answers.get("400", {"description": UNREAD, "content": {}})
    return answers | {"400": {**unread, "content": {**unread["content"], "text/plain": {}}}}


def _common(path: str, operation: Mapping[str, Any]) -> Iterator[int]:
    """Yield the statuses of problems that an operation has for what it is, and not for what it does."""
    yield HTTPStatus.FORBIDDEN  # another site's page, or a host that is not known
    yield HTTPStatus.INTERNAL_SERVER_ERROR
    if "security" in operation:
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.CONFLICT  # a file of the home folder is damaged
    if path not in ALWAYS_ANSWERED:
        yield HTTPStatus.SERVICE_UNAVAILABLE  # Redis, the disk, the model that is being loaded, too many clients
    if "requestBody" in operation:
        yield HTTPStatus.REQUEST_TIMEOUT
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        yield HTTPStatus.UNPROCESSABLE_ENTITY
