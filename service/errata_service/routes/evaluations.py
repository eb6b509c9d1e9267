"""Evaluations: measuring a version on records or on its own facts, and what was found."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from errata_registry.jobs.measurement_files import CASES
from errata_registry.jobs.measurement_records import Evaluation, EvaluationRequest
from errata_registry.records import BASE_VERSION, NUMBERS_END, EditStatus, ProblemItem
from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import SkipValidation, ValidationError
from pydantic_core import from_json, to_json

from errata.errors import FactProblem, InvalidFacts
from errata.evaluation import Generation, Record
from errata.evaluation.generation import require_room_for_texts
from errata.facts import MAX_FACTS
from errata.model.room import find_overlong
from errata_service.dependencies import CallerDep, RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.pages import Limit, Page, shown
from errata_service.problems import NotReady, ProblemError, pointer, problem_responses
from errata_service.replica import ServingReplica
from errata_service.routes.edits import IdempotencyKey
from errata_service.waiting import Wait, ended

NDJSON = "application/x-ndjson"

router = APIRouter(tags=["evaluations"])

_EXAMPLES = {
    "records": {
        "summary": "CounterFact's records",
        "value": {
            "version": 1,
            "records": [
                {
                    "requested_rewrite": {
                        "prompt": "{} plays the sport of",
                        "subject": "Michael Jordan",
                        "target_new": {"str": "baseball"},
                        "target_true": {"str": "basketball"},
                    },
                    "paraphrase_prompts": ["The sport that Michael Jordan is known for is"],
                    "neighborhood_prompts": ["Kobe Bryant plays the sport of"],
                }
            ],
        },
    },
    "own facts": {"summary": "The facts of the active version", "value": {}},
}
PostedEvaluation = Annotated[EvaluationRequest, SkipValidation, Body(openapi_examples=_EXAMPLES)]


@dataclass(frozen=True, slots=True)
class Validated:
    """A request without fault, and its records as they were read; none where the version's own facts are measured."""

    request: EvaluationRequest
    records: list[Record]


def _validated(posted: PostedEvaluation) -> Validated:
    """The request, or all that is wrong with it. As with edits, not left to FastAPI, which would hold up everybody."""
    body: Any = posted
    given = body.get("records") if isinstance(body, dict) else None
    if isinstance(given, list) and len(given) > MAX_FACTS:
        message = f"at most {MAX_FACTS} records are taken at once, got {len(given)}"
        raise RequestValidationError([{"type": "too_long", "loc": ("body", "records"), "msg": message}])
    try:
        request = EvaluationRequest.model_validate(posted)
    except ValidationError as error:
        places = {"no_use": ("references",)}
        raise RequestValidationError(
            [
                {**item, "loc": ("body", *places.get(item["type"], item["loc"]))}
                for item in error.errors(include_url=False)
            ]
        ) from error
    if request.records is None:
        return Validated(request, [])
    _refuse(_unwritable(request.records), "records", request.records)
    _refuse(_unwritable(request.references or ()), "references", request.references or ())
    try:
        request.read_references()
    except InvalidFacts as error:
        _refuse(error.problems, "references", request.references or ())
    try:
        return Validated(request, request.read_records())
    except InvalidFacts as error:
        _refuse(error.problems, "records", request.records)
        raise


def _unwritable(records: tuple[Any, ...]) -> list[FactProblem]:
    problems = []
    for index, record in enumerate(records):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            detail = "holds half a surrogate pair, which is no character"
            problems.append(FactProblem(index, "record", detail))
            continue
        try:
            from_json(to_json({"request": {"records": [record]}}))  # as deep as it lies in `request.json`
        except ValueError:
            detail = "cannot be kept as JSON: it is nested too deeply, or holds a number that is too long"
            problems.append(FactProblem(index, "record", detail))
    return problems


def _refuse(problems: tuple[FactProblem, ...] | list[FactProblem], field: str, records: tuple[Any, ...]) -> None:
    """Raise what is wrong with records, each by its place; nothing where nothing is."""
    if problems:
        raise ProblemError(
            422,
            "invalid-records",
            f"{field}: {problems[0].index}, {problems[0].field}: {problems[0].detail}"
            + (f" (and {len(problems) - 1} more, see errors)" if len(problems) > 1 else ""),
            at=[_item(field, problem, records[problem.index]) for problem in problems],
        )


def _item(field: str, problem: FactProblem, record: Any) -> ProblemItem:
    """A field of a record is named `requested_rewrite.subject` or `paraphrase_prompts[2]`. What it has no field for, a
    part of the fact that it is read as, is named in words."""
    path = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", problem.field)]
    if problem.field == "record":
        return ProblemItem(pointer=pointer(field, problem.index), detail=problem.detail)
    if isinstance(record, dict) and (path[0] in record or problem.detail == "is missing"):
        return ProblemItem(pointer=pointer(field, problem.index, *path), detail=problem.detail)
    return ProblemItem(pointer=pointer(field, problem.index), detail=f"{problem.field}: {problem.detail}")


@router.post(
    "/evaluations",
    summary="Queue an evaluation",
    status_code=202,
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
def create_evaluation(
    validated: Annotated[Validated, Depends(_validated)],
    response: Response,
    replica: ReplicaDep,
    by: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Evaluation:
    """A worker measures the version when there is nothing to edit. `Location` names the evaluation to follow."""
    request, registry = validated.request, replica.registry
    if idempotency_key is not None and (known := registry.evaluations.of_key(idempotency_key, request)):
        response.headers["Location"] = f"/evaluations/{known.id}"  # whatever became of its version since
        return known
    version = registry.active() if request.version is None else request.version
    if version != BASE_VERSION:
        registry.artifacts.delta_file(version, registry.bound_base().digest)
    _check_lengths(validated, replica)
    count = len(registry.facts(version)) if request.records is None else len(request.records)
    if not count:
        detail = f"version {version} has no facts of its own to be measured on: give records"
        raise ProblemError(422, "invalid-records", detail, at=[ProblemItem(pointer="/records", detail=detail)])
    shown = {
        **request.model_dump(include={"zsre_object", "generation", "prose", "seed", "note"}),
        "version": version,
        "records": count,
        "own_facts": request.records is None,
    }
    evaluation = registry.evaluations.create(request, shown, idempotency_key, by=by)
    response.headers["Location"] = f"/evaluations/{evaluation.id}"
    return evaluation


def _check_lengths(validated: Validated, replica: ServingReplica) -> None:
    """Refuse prompts that do not fit into the model's context, each by its record."""
    try:
        model = replica.engine.model
    except NotReady:  # it is taken while the model is being loaded; the worker looks at its lengths, too
        return
    records = validated.request.records or ()
    _refuse(list(find_overlong(model, [record.fact for record in validated.records], 0)), "records", records)
    if validated.request.generation:
        try:
            require_room_for_texts(model, [record.case for record in validated.records], Generation())
        except InvalidFacts as error:
            _refuse(error.problems, "records", records)


@router.get(
    "/evaluations",
    summary="The evaluations, newest first",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 422, 503),
)
def list_evaluations(
    registry: RegistryDep,
    limit: Limit = 20,
    after: str | None = None,
    version: Annotated[int | None, Query(ge=0, lt=NUMBERS_END, description="Only those of this version.")] = None,
) -> Page[Evaluation]:
    """`after` takes the id of an evaluation and gives the older ones."""
    return shown(registry.evaluations.page(limit, after, version))


@router.get(
    "/evaluations/{evaluation_id}",
    summary="One evaluation",
    dependencies=[may_read],
    responses=problem_responses(401, 403, 404, 422, 503),
)
async def get_evaluation(evaluation_id: str, replica: ReplicaDep, wait: Wait = 0) -> Evaluation:
    """How it stands; with `wait`, once it has ended or the time is over."""
    return await ended(lambda: replica.registry.evaluations.record(evaluation_id), wait, replica)


@router.post(
    "/evaluations/{evaluation_id}/cancel",
    summary="Cancel an evaluation",
    dependencies=[may_edit],
    responses=problem_responses(401, 403, 404, 409, 503),
)
def cancel_evaluation(evaluation_id: str, registry: RegistryDep) -> Evaluation:
    """One that is queued ends at once, one that runs at its next step. 409 where it has ended otherwise."""
    return registry.evaluations.request_cancel(evaluation_id)


@router.get(
    "/evaluations/{evaluation_id}/cases",
    summary="What was measured of each record",
    response_class=FileResponse,
    dependencies=[may_read],
    responses={
        200: {"content": {NDJSON: {}}, "description": "A line of JSON for each record, in their order"},
        **problem_responses(401, 403, 404, 409, 503),
    },
)
def get_cases(evaluation_id: str, registry: RegistryDep) -> FileResponse:
    """Its metrics, every prompt's figures and its generated texts. 409 until the evaluation has succeeded."""
    evaluations = registry.evaluations
    if (status := evaluations.record(evaluation_id).status) is not EditStatus.SUCCEEDED:
        raise ProblemError(409, "conflict", f"{evaluation_id} is {status}: there are no cases")
    return FileResponse(evaluations.files.existing(evaluation_id, CASES), media_type=NDJSON)
