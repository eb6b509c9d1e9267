"""What is wrong with the bodies that jobs are asked for with, each fault by its place.

These bodies may hold ten thousand facts or records. They are read in a thread of their own and not by FastAPI, which
would do it on the event loop, where nothing else is done meanwhile.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, TypeVar

from errata_registry.jobs.requests import EditRequest, EvaluationRequest, TraceRequest
from fastapi import Body
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, SkipValidation, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from errata.errors import (
    FactProblem,
    InvalidFacts,
    InvalidHyperparameters,
    InvalidRecords,
    Place,
    TooLong,
    TracingError,
    pointer,
)
from errata.evaluation import Generation, Record
from errata.evaluation.generation import require_room_for_texts
from errata.facts import HALF_A_CHARACTER, Fact, find_long_prompts, find_problems
from errata.hyperparameters import Hyperparameters, TargetHyperparameters, unknown_to
from errata.model import EditableModel
from errata.model.room import find_overlong
from errata.targets.contexts import room_for_context
from errata.tracing.prompts import TracedPrompt
from errata.wordings import wordings_of
from errata_service.problems import MOST_NAMED, NotReady, ProblemError
from errata_service.replica import ServingReplica

Asked = TypeVar("Asked", bound=BaseModel)
_FACT = TypeAdapter(Fact)


_EDIT_EXAMPLE = {
    "facts": [
        {
            "subject": "Michael Jordan",
            "relation": "plays the sport of",
            "object": "baseball",
            "phrasings": ["The sport that Michael Jordan plays is"],
            "paraphrases": ["What sport does Michael Jordan play? He plays"],
            "neighbors": [{"prompt": "Kobe Bryant plays the sport of", "object": "basketball"}],
        }
    ],
    "note": "he changed sports",
}
PostedEdit = Annotated[
    EditRequest,
    SkipValidation,
    Body(openapi_examples={"one fact": {"summary": "One fact, with prompts that measure it", "value": _EDIT_EXAMPLE}}),
]
_EVALUATION_EXAMPLES = {
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
PostedEvaluation = Annotated[EvaluationRequest, SkipValidation, Body(openapi_examples=_EVALUATION_EXAMPLES)]
_TRACE_EXAMPLES = {
    "one prompt": {
        "summary": "One prompt",
        "value": {"prompt": "{} plays the sport of", "subject": "Michael Jordan", "answer": "basketball"},
    },
    "facts": {
        "summary": "Facts that the model should know",
        "value": {"facts": [{"subject": "Michael Jordan", "relation": "plays the sport of", "object": "basketball"}]},
    },
}
PostedTrace = Annotated[TraceRequest, SkipValidation, Body(openapi_examples=_TRACE_EXAMPLES)]


def edit_request(posted: PostedEdit) -> EditRequest:
    """Read the body of an edit. Raises `RequestValidationError` with all that is wrong with it."""
    return _validated_with_facts(EditRequest, posted)


def trace_request(posted: PostedTrace) -> TraceRequest:
    """Read the body of a trace. Raises `RequestValidationError` with all that is wrong with it."""
    return _validated_with_facts(TraceRequest, posted)


@dataclass(frozen=True, slots=True)
class AskedEvaluation:
    """A request without fault, and its records; none where the version's own facts are measured."""

    request: EvaluationRequest
    records: list[Record]


def evaluation_request(posted: PostedEvaluation) -> AskedEvaluation:
    """Read the body of an evaluation.

    Raises:
        RequestValidationError: it has another form.
        ProblemError: it holds records that cannot be measured with, each of which is named.
    """
    request = validated(EvaluationRequest, posted)
    if request.records is None:
        return AskedEvaluation(request, [])
    references = request.references or ()
    _refuse_records(unwritable(request.records), "records", request.records)
    _refuse_records(unwritable(references), "references", references)
    try:
        request.read_references()
    except InvalidFacts as error:
        _refuse_records(error.problems, "references", references)
    try:
        return AskedEvaluation(request, request.read_records())
    except InvalidFacts as error:
        _refuse_records(error.problems, "records", request.records)
        raise


# By their form


def validated(kind: type[Asked], posted: Any) -> Asked:
    """Read a body of a kind. Raises `RequestValidationError`."""
    try:
        return kind.model_validate(posted)
    except ValidationError as error:
        raise RequestValidationError(list(_faults(error))) from error


def _validated_with_facts(kind: type[Asked], posted: Any) -> Asked:
    """Read a body whose facts are read first, one by one: pydantic would read all before others had their turn.

    A malformed fact has a stand-in without fault, so that the others keep their numbers, and what they say of each
    other is told as well.
    """
    facts: list[Fact] = []
    faults: list[dict[str, Any]] = []
    for index, one in enumerate(_listed(posted, "facts")):
        try:
            facts.append(_FACT.validate_python(one))
        except ValidationError as error:
            facts.append(Fact(f"malformed fact {index}", "is", "malformed"))
            faults += _faults(error, "facts", index)
        if len(faults) >= MOST_NAMED:
            raise RequestValidationError(faults)
    faults += islice(_fact_faults(facts), MOST_NAMED)
    try:
        request = kind.model_validate({**posted, "facts": facts} if facts else posted)
    except ValidationError as error:
        faults = [*_faults(error), *faults]
    if faults:
        raise RequestValidationError(faults)
    return request


def _faults(error: ValidationError, *within: str | int) -> Iterator[dict[str, Any]]:
    for item in error.errors(include_url=False):
        yield {**item, "loc": ("body", *within, *_place(item))}


def _place(fault: ErrorDetails) -> tuple[str | int, ...]:
    """Return where a fault is; what is wrong with a body as a whole has no place of its own."""
    match fault["type"]:
        case "nothing":
            return ("facts",)
        case "no_use":
            return ("references",)
        case "put_in":
            return ("retract", fault["ctx"]["index"])
    return fault["loc"]


def _listed(posted: Any, field: str) -> list[Any]:
    given = posted.get(field) if isinstance(posted, dict) else None
    return given if isinstance(given, list) else []


# By the rules of facts


def _fact_faults(facts: Sequence[Fact]) -> Iterator[dict[str, Any]]:
    for problem in (*find_problems(facts), *find_long_prompts(facts)):
        loc = ("body", "facts", problem.index, *path_of(problem.field))
        yield {"type": "fact", "loc": loc, "msg": problem.detail}


def path_of(field: str) -> list[str | int]:
    """Return the path that a problem's field stands for, such as `neighbors[2].prompt`."""
    return [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", field)]


# By the forms of records


def unwritable(records: Sequence[Any]) -> list[FactProblem]:
    """Return what is wrong with records that cannot be kept as JSON."""
    problems = []
    for index, record in enumerate(records):
        try:
            json.dumps(record, ensure_ascii=False).encode()
            from_json(to_json({"request": {"records": [record]}}))  # as deep as it lies in `request.json`
        except UnicodeEncodeError:
            problems.append(FactProblem(index, "record", HALF_A_CHARACTER))
        except ValueError:
            detail = "cannot be kept as JSON: it is nested too deeply, or holds a number that is too long"
            problems.append(FactProblem(index, "record", detail))
    return problems


def _refuse_records(problems: Sequence[FactProblem], field: str, records: Sequence[Any]) -> None:
    """Raise what is wrong with records, each by its place; nothing where nothing is."""
    if problems:
        first = f"{field}: {problems[0].index}, {problems[0].field}: {problems[0].detail}"
        more = f" (and {len(problems) - 1} more, see errors)" if len(problems) > 1 else ""
        places = [_place_of_record(field, problem, records[problem.index]) for problem in problems]
        raise ProblemError.of(InvalidRecords, first + more, places)


def _place_of_record(field: str, problem: FactProblem, record: Any) -> Place:
    """Return where a fault is; a part of a fact that the record has no field for is named in words."""
    path = path_of(problem.field)
    if problem.field == "record":
        return Place(pointer(field, problem.index), problem.detail)
    if isinstance(record, dict) and (path[0] in record or problem.detail == "is missing"):
        return Place(pointer(field, problem.index, *path), problem.detail)
    return Place(pointer(field, problem.index), f"{problem.field}: {problem.detail}")


# By what the model and its methods can do; what is not known yet, the worker looks at, too


def check_edit(request: EditRequest, replica: ServingReplica) -> None:
    """Refuse prompts and hyperparameters that the worker would refuse. Raises `ProblemError`."""
    if model := _model(replica):
        try:
            wordings_of(model, request.facts)
        except InvalidFacts as error:
            places = _places_of_facts(error.problems)
            raise ProblemError.of(InvalidFacts, "some questions cannot be put to the model", places) from error
        if places := _places_of_facts(find_overlong(model, request.facts, room_for_context(model))):
            raise ProblemError.of(TooLong, "some prompts do not fit into the model's context", places)
    if replica.hyperparameters and (places := list(_faults_of_method(request, replica))):
        detail = f"{places[0].pointer.removeprefix('/').replace('hparams/', '')}: {places[0].detail}"
        raise ProblemError.of(InvalidHyperparameters, detail, places)


def _places_of_facts(problems: Iterable[FactProblem]) -> list[Place]:
    return [Place(pointer("facts", problem.index, problem.field), problem.detail) for problem in problems]


def check_evaluation(asked: AskedEvaluation, replica: ServingReplica) -> None:
    """Refuse prompts that do not fit into the model's context. Raises `ProblemError`, naming each record."""
    if model := _model(replica):
        records = asked.request.records or ()
        overlong = list(find_overlong(model, [record.fact for record in asked.records], 0))
        _refuse_records(overlong, "records", records)
        if asked.request.generation:
            try:
                require_room_for_texts(model, [record.case for record in asked.records], Generation())
            except InvalidFacts as error:
                _refuse_records(error.problems, "records", records)


def check_trace(request: TraceRequest, replica: ServingReplica) -> None:
    """Refuse what the worker would refuse. Raises `ProblemError`."""
    model = _model(replica)
    if model and (places := list(_faults_of_trace(request, model))):
        raise ProblemError.of(TracingError, f"{places[0].pointer}: {places[0].detail}", places)


def _faults_of_trace(request: TraceRequest, model: EditableModel) -> Iterator[Place]:
    if request.window is not None and request.window > model.num_layers:
        yield Place("/window", f"the model has {model.num_layers} layers")
    if request.prompt is not None and request.subject is not None:
        try:
            TracedPrompt.of(model, request.prompt, request.subject, request.answer)
        except TracingError as error:
            yield Place("/prompt", str(error))
    for problem in find_overlong(model, request.facts or (), 0):
        yield Place(pointer("facts", problem.index, problem.field), problem.detail)


def _faults_of_method(request: EditRequest, replica: ServingReplica) -> Iterator[Place]:
    """Yield what is wrong with the searches, or else with the hyperparameters as a whole."""
    defaults = replica.hyperparameters.get(request.method)
    if defaults is None:
        yield Place("/method", unknown_to(request.method, replica.hyperparameters))
    elif places := list(_faults_of_searches(request.facts, request.method, defaults)):
        yield from places
    else:
        try:
            wanted = defaults.overridden(request.hparams)
            if wanted.layers != defaults.layers:
                replica.engine.model.require_editable(wanted.layers)
        except InvalidHyperparameters as error:
            yield Place(pointer("hparams", error.name), error.detail)


def _faults_of_searches(facts: Iterable[Fact], method: str, defaults: Hyperparameters) -> Iterator[Place]:
    for index, fact in enumerate(facts):
        if not fact.search:
            continue
        if not isinstance(defaults, TargetHyperparameters):
            detail = f"is of no use to {method}, which searches for no targets"
            yield Place(pointer("facts", index, "search"), detail)
            continue
        try:
            defaults.for_search(fact.search)
        except InvalidHyperparameters as error:
            yield Place(pointer("facts", index, "search", error.name), error.detail)


def _model(replica: ServingReplica) -> EditableModel | None:
    """Return the model, None while it is being loaded: jobs are taken all the same."""
    try:
        return replica.engine.model
    except NotReady:
        return None
