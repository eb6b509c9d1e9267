"""Keys and their scopes, and where a service without keys may listen."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from errata_registry.api_keys import ApiKey, KeysFileError, OpenToOthers, Scope, new_key, read_keys, refuse_open_address
from errata_registry.settings import Settings
from errata_service.routes import console

from tests.service.conftest import Refused

GENERATE = ("POST", "/generate", {"prompt": "Paris", "max_new_tokens": 1})
EDIT = ("POST", "/edits", {"facts": [{"subject": "Ada", "relation": "was born in", "object": "London"}]})
MEASURE = [
    (
        "POST",
        "/evaluations",
        {
            "records": [
                {
                    "src": "Who is Ada?",
                    "subject": "Ada",
                    "rephrase": "Ada is",
                    "alt": "a poet",
                    "loc": "Who is Alan",
                    "loc_ans": "a poet",
                }
            ]
        },
    ),
    ("POST", "/traces", {"prompt": "{} was born in", "subject": "Ada"}),
]
ACTIVATE = ("POST", "/versions/0/activate", None)
EXPORT = ("GET", "/versions/0/export?format=lora", None)
NAME = ("PUT", "/aliases/best", {"version": 0})
PROTECT = ("PUT", "/aliases/best/protection", None)
UNPROTECT = ("DELETE", "/aliases/best/protection", None)
PRUNE = ("POST", "/versions/prune", {"keep_last": 1, "dry_run": True})
PROBE: tuple[str, str, Any] = ("PUT", "/probes", {"probes": []})
ADMINISTER: list[Any] = [ACTIVATE, EXPORT, NAME, PROTECT, UNPROTECT, PRUNE, PROBE]
NO_EDIT = "edit_" + "0" * 24
# Of what is not there, whoever may is told so.
ABOUT_NOTHING: dict[str, list[tuple[str, str, Any]]] = {
    "read": [
        ("GET", f"/edits/{NO_EDIT}/facts", None),
        ("GET", "/evaluations/none", None),
        ("GET", "/evaluations/none/cases", None),
        ("GET", "/traces/none", None),
        ("GET", "/traces/none/result", None),
        ("GET", "/traces/none/figures/states.svg", None),
    ],
    "edit": [
        ("POST", f"/edits/{NO_EDIT}/retry", {}),
        ("POST", f"/edits/{NO_EDIT}/cancel", None),
        ("POST", "/evaluations/none/cancel", None),
        ("POST", "/traces/none/cancel", None),
    ],
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """A key for each scope and one for all, and their file."""
    held: dict[str, str] = {}
    lines = ["# keys of the tests", ""]
    for name, scopes in {**{scope.value: [scope] for scope in Scope}, "all": list(Scope)}.items():
        held[name], line = new_key(name, scopes)
        lines.append(line)
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(lines) + "\n")
    return held, path


@pytest.fixture(scope="module")
def guarded(serve: Any, new_settings: Any, keys: tuple[dict[str, str], Path]) -> httpx.Client:
    """A service that asks for keys."""
    client: httpx.Client = serve(new_settings(keys_file=keys[1]))
    while client.get("/readyz").status_code != 200:
        pass
    return client


def status_of(client: httpx.Client, request: tuple[str, str, Any], key: str | None) -> int:
    method, path, body = request
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return client.request(method, path, json=body, headers=headers).status_code


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("read", [GENERATE]),
        ("edit", [EDIT, *MEASURE]),
        ("admin", ADMINISTER),
        ("all", [GENERATE, EDIT, *MEASURE, *ADMINISTER]),
    ],
)
def test_a_scope_allows_what_it_says(guarded: httpx.Client, keys: Any, name: str, allowed: list[Any]) -> None:
    for request in (GENERATE, EDIT, *MEASURE, *ADMINISTER):
        status = status_of(guarded, request, keys[0][name])
        assert status < 300 if request in allowed else status == 403, (request, status)


@pytest.mark.parametrize("scope", ABOUT_NOTHING)
def test_what_is_about_one_thing_asks_for_its_scope_first(guarded: httpx.Client, keys: Any, scope: str) -> None:
    for request in ABOUT_NOTHING[scope]:
        for name in ("read", "edit", "admin"):
            status = status_of(guarded, request, keys[0][name])
            assert status == (404 if name == scope else 403), (request, name)
    lists = [("GET", path, None) for path in ("/probes", "/evaluations", "/traces")]
    assert {status_of(guarded, request, keys[0]["read"]) for request in lists} == {200}
    assert {status_of(guarded, request, keys[0]["edit"]) for request in lists} == {403}


def test_facts_know_whose_key_they_were_sent_with(guarded: httpx.Client, keys: Any) -> None:
    authorization = {"Authorization": f"Bearer {keys[0]['edit']}"}
    assert guarded.post("/edits", json=EDIT[2], headers=authorization).json()["by"] == "edit"
    nobodys = ("POST", "/facts/retract", {"ids": ["fact_" + "0" * 16], "base": 0})
    there = ("POST", "/versions/9/rebuild", None)
    for request in (nobodys, there):
        assert status_of(guarded, request, keys[0]["read"]) == 403
        assert status_of(guarded, request, keys[0]["edit"]) == 404


@pytest.mark.parametrize(
    "path",
    [
        "/generate?prompt=a",
        "/edits",
        "/versions",
        "/facts",
        "/model",
        "/edits/x/events",
        "/evaluations",
        "/probes",
        "/traces",
    ],
)
def test_without_a_key_nothing_is_shown(guarded: httpx.Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer errata_wrong"}, {"Authorization": "Basic YTpi"}):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_malformed_body_without_a_key_is_not_looked_at(guarded: httpx.Client, keys: Any) -> None:
    sent: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    for path in ("/edits", "/generate", "/rollback"):
        assert guarded.post(path, **sent).status_code == 401
    authorization = {"Authorization": f"bearer {keys[0]['edit']}"}
    assert guarded.post("/edits", content=b"{", headers={**sent["headers"], **authorization}).status_code == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "errata.example:8000"}, 403),
        ({"Host": "127.0.0.1.example.org"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "192.0.2.1:8000"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "errata.example:8000", "Origin": "http://errata.example:8000"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ],
)
def test_other_sites_cannot_use_a_service_without_keys(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/versions", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:errata:problem:foreign-site"


def test_a_service_open_to_all_has_the_names_that_it_was_given(serve: Any, new_settings: Any) -> None:
    client: httpx.Client = serve(new_settings(allow_anonymous=True, allowed_hosts="errata.example, model.internal"))
    host = {"Host": "errata.example:8000"}
    assert client.get("/edits", headers=host).status_code == 200
    assert client.get("/edits", headers={**host, "Origin": "http://errata.example:8000"}).status_code == 200
    assert client.get("/edits", headers={**host, "Origin": "https://example.org"}).status_code == 403
    assert client.get("/edits", headers={"Host": "MODEL.internal"}).status_code == 200
    foreign = client.post("/edits", json=EDIT[2], headers={"Host": "evil.example", "Origin": "http://evil.example"})
    assert foreign.status_code == 403 and "ERRATA_ALLOWED_HOSTS" in foreign.json()["detail"]
    assert client.get("/edits").json()["data"] == []


def test_answers_tell_browsers_to_keep_to_what_they_are(client: httpx.Client) -> None:
    for path in ("/versions", "/edits/none", "/docs", "/v1/none"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_key_is_told_what_it_may_do(guarded: httpx.Client, client: httpx.Client, keys: Any) -> None:
    def asked(path: str, name: str) -> Any:
        return guarded.get(path, headers={"Authorization": f"Bearer {keys[0][name]}"}).json()

    assert asked("/key", "read") == {"name": "read", "scopes": ["read"]}
    assert asked("/key", "all") == {"name": "all", "scopes": ["read", "edit", "admin"]}
    assert [key["name"] for key in asked("/keys", "admin")["data"]] == ["admin", "all", "edit", "read"]
    assert client.get("/key").json() == {"name": None, "scopes": ["read", "edit", "admin"]}
    assert asked("/keys", "edit")["status"] == 403


def test_the_console_is_open_and_kept_by_browsers(guarded: httpx.Client) -> None:
    page = guarded.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in page.headers["content-security-policy"] and "unsafe" not in str(page.headers)
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(named) > 5
    for path in named:
        file = guarded.get(path)
        assert file.status_code == 200
        again = guarded.get(path, headers={"If-None-Match": file.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert guarded.get("/console/../app.py").status_code == guarded.get("/console/%2e%2e/app.py").status_code == 404
    assert guarded.get("/console/scripts/main.js").status_code == 200
    for roundabout in (
        "scripts/%2e/main.js",
        "scripts/%2e%2e/scripts/main.js",
        "%2fscripts/main.js",
        "scripts%2f%2fmain.js",
    ):
        assert guarded.get(f"/console/{roundabout}").status_code == 404  # each name that is answered is kept
    assert guarded.head("/").status_code == 200 and guarded.post("/").status_code in (401, 405)


def test_what_is_vendored_is_what_it_was() -> None:
    vendored = Path(console.FOLDER) / "vendor"
    told = dict(re.findall(r"\| `(\S+\.js)` \|.*`([0-9a-f]{64})`", (vendored / "README.md").read_text()))
    assert told == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in vendored.glob("*.js")}


def test_health_and_description_are_open(guarded: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200


def test_the_description_asks_for_a_key_where_one_is_needed(guarded: httpx.Client) -> None:
    schema = guarded.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]
    for path, operations in schema["paths"].items():
        is_open = path in ("/healthz", "/readyz", "/metrics")
        for operation in operations.values():
            assert ("security" not in operation) == ("401" not in operation["responses"]) == is_open, path


def test_an_insufficient_key_is_told_what_it_lacks(guarded: httpx.Client, keys: Any) -> None:
    answer = guarded.post("/edits", json=EDIT[2], headers={"Authorization": f"Bearer {keys[0]['read']}"})
    assert answer.json()["type"] == "urn:errata:problem:insufficient-scope"
    assert "'edit'" in answer.json()["detail"]


def test_the_file_holds_no_key(keys: tuple[dict[str, str], Path]) -> None:
    assert not any(key in keys[1].read_text() for key in keys[0].values())
    assert set(read_keys(keys[1]).values()) >= {ApiKey("read", frozenset({Scope.READ}))}


def test_a_hash_may_be_written_in_capitals(tmp_path: Path, keys: tuple[dict[str, str], Path]) -> None:
    path = tmp_path / "keys"
    _, line = new_key("ci", [Scope.READ])
    name, scopes, digest = line.split()
    path.write_text(f"{name} {scopes} {digest.upper()}\n")
    assert list(read_keys(path)) == [digest]


@pytest.mark.parametrize(
    "line", ["one", "name read nothex", f"name fly {'0' * 64}", f"name read {'0' * 63}", f"a b read {'0' * 64}"]
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(KeysFileError, match="line 2"):
        read_keys(path)


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_a_file_without_keys_opens_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KeysFileError):
        read_keys(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_open_address_is_refused_without_keys(host: str) -> None:
    with pytest.raises(OpenToOthers, match=host):
        refuse_open_address(Settings(host=host))
    refuse_open_address(Settings(host=host, allow_anonymous=True))
    refuse_open_address(Settings(host=host, keys_file=Path("keys")))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_the_loopback_needs_no_keys(host: str) -> None:
    refuse_open_address(Settings(host=host))


def test_the_service_ends_with_a_sentence(new_settings: Any, refused: Refused) -> None:
    said = refused(new_settings(host="0.0.0.0"))
    assert said.splitlines()[-1].startswith("error: refusing to listen on 0.0.0.0 without API keys")


def test_a_key_is_made_on_the_command_line() -> None:
    command = [sys.executable, "-c", "from errata_cli.main import main; main()", "new-key", "ci", "read", "edit"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "errata_" in shown and "ci edit,read " in shown
