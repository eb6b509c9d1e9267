"""The console: the page at `/` and the files that it is made of, which are open to everyone.

They are no part of the interface that OpenAPI describes. What the page shows, it asks the other routes for, with the
key of whoever sits before it.
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response

from errata_service.static_files import file_answer

FOLDER = Path(__file__).resolve().parents[1] / "console"
PAGE = "index.html"
# Nothing but what lies here: no script or style within the page, no other host, no frame, and no text made a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Cache-Control": "no-cache",  # a browser asks each time whether it has what is here: the files belong together
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def get_page(request: Request) -> Response:
    """The page itself."""
    return file_answer(request, FOLDER, PAGE, HEADERS)


@router.get("/console/{name:path}")
async def get_file(name: str, request: Request) -> Response:
    """A script, a style or a picture of the page."""
    return file_answer(request, FOLDER, name, HEADERS)
