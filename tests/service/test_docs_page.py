"""The page at /docs: made of the service's own files, and of no other site's."""

import hashlib
import re
from importlib.resources import files

import httpx

SWAGGER = files("errata_service") / "swagger"


def test_the_page_names_no_other_site_and_all_that_it_names_is_there(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 4
    for name in named:
        file = client.get(f"/{name}")
        assert file.status_code == 200 and file.headers["x-content-type-options"] == "nosniff"
        assert ("content-encoding" in file.headers) is name.endswith((".js", ".css"))
        assert client.get(f"/{name}", headers={"If-None-Match": file.headers["etag"]}).status_code == 304
        unpacked = client.get(f"/{name}", headers={"Accept-Encoding": "gzip;q=0"})
        assert "content-encoding" not in unpacked.headers and unpacked.headers["vary"] == "Accept-Encoding"
        assert file.content == unpacked.content == (SWAGGER / name.removeprefix("docs/")).read_bytes()
    assert '"openapi.json"' in client.get("/docs/start.js").text and client.get("/openapi.json").text.endswith("}\n")
    for none in ("README.md", "LICENSE", "nothing.js"):
        assert client.get(f"/docs/{none}").status_code == 404
    for description in ("/redoc", "/docs/oauth2-redirect"):
        assert client.get(description).status_code == 404


def test_a_browser_is_told_to_fetch_nothing_from_elsewhere(client: httpx.Client) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in client.get("/docs").headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
    assert not re.search(r"https?:|\*|unsafe-eval", str(policy))


def test_the_files_are_those_that_were_published() -> None:
    told = re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (SWAGGER / "README.md").read_text())
    assert {name for name, _ in told} == {"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"}
    for name, sha256 in told:
        assert hashlib.sha256((SWAGGER / name).read_bytes()).hexdigest() == sha256
    assert "Apache License" in (SWAGGER / "LICENSE").read_text() and (SWAGGER / "NOTICE").read_text().strip()
