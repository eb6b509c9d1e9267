"""The OpenAPI description says what is asked for and what may be answered, errors included."""

import re
from typing import Any

import httpx
import jsonschema_rs

PROBLEM = "application/problem+json"


def test_the_description_declares_problems(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            form, name = ("application/json", "OpenAIError") if path.startswith("/v1/") else (PROBLEM, "Problem")
            for status, response in responses.items():
                if int(status) > 400 or (status == "400" and form != PROBLEM):
                    reference = response["content"][form]["schema"]["$ref"]
                    assert reference == f"#/components/schemas/{name}", (method, path, status)
                    assert list(response["content"]) == [form] or status == "400"
            assert {"400", "403", "500"} <= responses.keys()
            assert "text/plain" in responses["400"]["content"]
            assert ("413" in responses) == ("requestBody" in operation)
            assert "422" not in responses or form == PROBLEM
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert schema["paths"]["/api/v1/edits"]["post"]["requestBody"]["content"]["application/json"]["examples"]


def test_everything_is_described_and_called_as_a_generated_client_would_call_it(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    tags = {tag["name"] for tag in schema["tags"] if tag["description"]}
    named = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"] and operation["description"], (method, path)
            assert set(operation["tags"]) <= tags, (method, path)
            named.append(operation["operationId"])
    assert len(named) == len(set(named)) and all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in named)
    assert not [name for name in named if name.endswith(("_get", "_post", "_put", "_delete"))]
    assert {"list_versions", "create_edit", "follow_edit", "generate", "set_alias"} <= set(named)
    assert all(parameter["description"] for parameter in parameters(schema))
    for name, component in schema["components"]["schemas"].items():
        assert component.get("description") and "Attributes:" not in component["description"], name
        for field, described in component.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"


def test_bodies_have_examples(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                named = content["schema"].get("$ref", "").rpartition("/")[2]
                assert content.get("examples") or schema["components"]["schemas"][named]["examples"], path


def test_every_field_of_an_answer_has_an_example_that_it_allows(client: httpx.Client) -> None:
    components = client.get("/openapi.json").json()["components"]
    exemplified = 0
    for name, component in components["schemas"].items():
        for field, described in component.get("properties", {}).items():
            for example in described.get("examples", ()):
                validator = jsonschema_rs.validator_for({**described, "components": components})
                assert validator.is_valid(example), f"{name}.{field}: {example!r}"
                exemplified += 1
    assert exemplified > 200


def test_every_path_of_the_native_interface_is_there_as_it_was_called_before(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {path.split("/")[1] for path in paths} == {"api", "v1", "healthz", "readyz", "metrics"}
    for path in ("/versions", "/model", "/versions/999", "/aliases", "/facts?limit=0"):
        before, now = client.get(path), client.get(f"/api/v1{path}")
        assert (before.status_code, before.json()) == (now.status_code, now.json())
    fact = {"subject": "Ada", "relation": "was born in", "object": "London"}
    for prefix in ("/api/v1", ""):  # the same key for both: they are one route
        edit = client.post(f"{prefix}/edits", json={"facts": [fact]}, headers={"Idempotency-Key": "either way"})
        assert edit.headers["location"] == f"{prefix}/edits/{edit.json()['id']}"
    assert [one["status"] for one in client.get("/edits?limit=1").json()["data"]] == ["queued"]
    cancelled = client.post(f"/api/v1/edits/{edit.json()['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert client.get("/api/v1/versions/prune").headers["allow"] == "OPTIONS, POST"


def test_no_key_is_asked_for_where_none_is_needed(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    assert "securitySchemes" not in schema["components"]
    for path in schema["paths"].values():
        for operation in path.values():
            assert "security" not in operation and "401" not in operation["responses"]


def test_the_description_says_what_fields_must_keep_together(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    of_query = schema["paths"]["/api/v1/generate"]["get"]["x-rules"]
    of_body = schema["components"]["schemas"]["GenerateRequest"]["x-rules"]
    answer = client.post("/generate", json={})
    assert [answer.json()["errors"][0]["detail"]] == of_query == of_body
    assert not any({"type": "null"} in parameter["schema"].get("anyOf", ()) for parameter in parameters(schema))


def parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    return [parameter for operation in operations for parameter in operation.get("parameters", ())]
