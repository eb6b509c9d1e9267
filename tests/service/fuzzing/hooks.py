"""What schemathesis is told about this service: what keeps a run short, and refusals that no schema can foresee."""

import json
import os
import re
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import positive_data_acceptance

# Larger bounds have tests of their own (test_problems.py): a run would spend its time on ten thousand facts.
MOST_ITEMS = 100
MOST_CHARACTERS = 5000
# Of what takes long, and is valid up to the second number, no more than the first is asked for.
LITTLE = {"n": (2, 128), "best_of": (2, 2**53), "wait": (0.1, 60)}
LITTLE |= dict.fromkeys(("max_new_tokens", "max_tokens", "max_completion_tokens"), (1, 2048))
# Valid by the schema, and refused all the same, by a pattern in the problem's type or in what it says.
NOT_BY_SCHEMA = {
    r"is not in this list$": "a cursor is what an earlier answer had as `next`",
    r"^this idempotency key belongs to": "which keys came before with another body, only the service knows",
    r"has no facts of its own": "whether a version has facts, only the service knows",
    r":invalid-hyperparameters$": "names and bounds are those of the method and the model, which `GET /model` lists",
    r":(bad-prompt|too-long|invalid-trace)$": "how many tokens and layers the model has, only the service knows",
    r":invalid-records$": "records are a data set's, which docs/http.md names and the schema leaves open",
    r"a set holds one object for each|is another one than that|has the object .* in fact \d+ and": "the schema says in "
    "words how facts go together",
    r"does not name the subject|holds \{\}; it names the subject": "and likewise what wordings of a fact are",
    r"^Invalid HTTP request received": "the description says in words how long a request's head may be",
}


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Leave out large bounds, at which each list and text would be tried."""
    waiting: list[Any] = [raw_schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for name, most in (("maxItems", MOST_ITEMS), ("maxLength", MOST_CHARACTERS)):
                if isinstance(one.get(name), int) and one[name] > most:
                    del one[name]
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Ask for a little where much is asked for, and follow no job that nobody works on: its events have no end."""
    if re.search(r"_[0-9a-f]+/events$", case.formatted_path):
        cancel = f"{str(case.operation.base_url).rstrip('/')}{case.formatted_path.removesuffix('events')}cancel"
        httpx.post(cancel, headers={"Authorization": os.environ["AUTHORIZATION"]}, verify=False)
    for given in (case.body, case.query):
        if isinstance(given, MutableMapping):
            for name, (little, most) in LITTLE.items():
                value = given.get(name)
                if re.fullmatch(r"\d+(\.\d+)?", str(value)) and little < float(str(value)) <= most:
                    given[name] = str(little) if isinstance(value, str) else little


@schemathesis.check
def valid_data_is_taken(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Fail where valid data is refused for a reason that the schema could have said and does not."""
    try:
        return positive_data_acceptance(context, response, case)
    except Failure:
        rules = list(_rules(case.operation.definition.raw, case.operation.schema.raw_schema))
        told = list(_told(response.text))
        if not all(_is_excused(one) or any(one in rule or rule in one for rule in rules) for one in told):
            raise
    return None


def _is_excused(told: str) -> bool:
    return any(re.search(pattern, told) for pattern in NOT_BY_SCHEMA)


def _told(text: str) -> Iterator[str]:
    """Yield what an answer says is wrong: the type of a problem that needs no more, or each of its faults."""
    try:
        problem = json.loads(text)
    except ValueError:
        yield text
        return
    kind = f":{problem['error']['code']}".replace("_", "-") if "error" in problem else problem["type"]
    if _is_excused(kind):
        yield kind
    elif "error" in problem:
        yield problem["error"]["message"]
    else:
        yield from [fault["detail"] for fault in problem.get("errors", ())] or [problem["detail"]]


def _rules(operation: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Yield the rules that the description of an operation, or of its body, says in words."""
    yield from operation.get("x-rules", ())
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    yield from body.get("x-rules", ())
