"""The description of the interface, and a page that shows it: Swagger UI, whose files the service sends itself.

Open to everyone, as the description tells nothing of what is kept here.
"""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from errata_service.bodies import BoundedRoute
from errata_service.static_files import file_answer

DOCS = "/docs"
SWAGGER = Path(__file__).resolve().parents[1] / "swagger"
FILES = ("swagger-ui-bundle.js", "start.js", "swagger-ui.css", "favicon-32x32.png")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Errata: the HTTP interface</title>
    <link rel="icon" href="docs/favicon-32x32.png">
    <link rel="stylesheet" href="docs/swagger-ui.css">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/start.js"></script>
  </body>
</html>
"""

router = APIRouter(route_class=BoundedRoute, include_in_schema=False)


@router.get("/openapi.json")
async def get_description(request: Request) -> dict[str, Any]:
    """Return the OpenAPI description."""
    description: dict[str, Any] = request.app.openapi()
    return description


@router.get(DOCS, response_class=HTMLResponse)
async def get_page() -> HTMLResponse:
    """Return the page that shows it."""
    return HTMLResponse(PAGE)


@router.get(f"{DOCS}/{{name}}")
def get_file(name: str, request: Request) -> Response:
    """Return a file of that page. In a thread: to pack its largest, once, takes a tenth of a second."""
    if name not in FILES:
        raise HTTPException(404)
    return file_answer(request, SWAGGER, name, {"Cache-Control": "max-age=3600"})
