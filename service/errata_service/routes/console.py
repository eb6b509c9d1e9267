"""The console: the page at `/` and the files that it is made of, which are open to everyone.

They are no part of the interface that OpenAPI describes. What the page shows, it asks the other routes for, with the
key of whoever sits before it.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).resolve().parents[1] / "console"
PAGE = "index.html"
# Nothing but what lies here: no script or style within the page, no other host, no frame, and no text made a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    packed: bytes  # by gzip
    media_type: str
    etag: str


@router.get("/")
async def get_page(request: Request) -> Response:
    """The page itself."""
    return _answer(request, PAGE)


@router.get("/console/{name:path}")
async def get_file(name: str, request: Request) -> Response:
    """A script, a style or a picture of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    """Send a file, or that it is the one that the browser has. A browser asks each time: files belong together."""
    try:
        path = _path(name)
        file = _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):  # there is none, or its name can be none's
        raise HTTPException(404) from None
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=headers)


def _path(name: str) -> Path:
    """Return the path of what a name stands for.

    Raises `ValueError` for a name that leads out of the folder, or round about, as `scripts/../index.html` does: there
    is no end of such names, and what is read under a name is kept.
    """
    path = (FOLDER / name).resolve()
    if path.relative_to(FOLDER).as_posix() != name:
        raise ValueError(name)
    return path


@cache
def _read(path: Path, changed_ns: int) -> _File:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "text/plain"
    media_type = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:20]}"'
    return _File(content, gzip.compress(content, mtime=0), media_type, etag)
