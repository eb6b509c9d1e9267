"""The OpenAPI description says what is asked for and what may be answered, errors included."""

from typing import Any

import httpx

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
    assert schema["paths"]["/edits"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert "text/html" in client.get("/docs").headers["content-type"]


def test_no_key_is_asked_for_where_none_is_needed(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    assert "securitySchemes" not in schema["components"]
    for path in schema["paths"].values():
        for operation in path.values():
            assert "security" not in operation and "401" not in operation["responses"]


def test_the_description_says_what_fields_must_keep_together(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    of_query = schema["paths"]["/generate"]["get"]["x-rules"]
    of_body = schema["components"]["schemas"]["GenerateRequest"]["x-rules"]
    answer = client.post("/generate", json={})
    assert [answer.json()["errors"][0]["detail"]] == of_query == of_body
    assert not any({"type": "null"} in parameter["schema"].get("anyOf", ()) for parameter in parameters(schema))


def parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    return [parameter for operation in operations for parameter in operation.get("parameters", ())]
