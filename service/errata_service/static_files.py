"""Files that browsers are sent as they lie in a folder: by gzip where they take it, and only where they lack them."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import Request, Response
from starlette.exceptions import HTTPException

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    packed: bytes | None  # by gzip, where that is smaller
    media_type: str
    etag: str


def file_answer(request: Request, folder: Path, name: str, headers: Mapping[str, str]) -> Response:
    """Send a file of a folder with these headers, or that it is the one that the browser has.

    A file is read and packed once, and again when it has changed. Raises 404 (`HTTPException`) where there is none.
    """
    try:
        path = _path(folder, name)
        file = _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):  # there is none, or its name can be none's
        raise HTTPException(404) from None
    sent = {**headers, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=sent)
    if file.packed is not None and _takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(file.packed, media_type=file.media_type, headers={**sent, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=sent)


def _path(folder: Path, name: str) -> Path:
    """Return the path of what a name stands for.

    Raises `ValueError` for a name that leads out of the folder, or round about, as `scripts/../index.html` does: there
    is no end of such names, and what is read under a name is kept.
    """
    path = (folder / name).resolve()
    if path.relative_to(folder).as_posix() != name:
        raise ValueError(name)
    return path


def _takes_gzip(accepted: str) -> bool:
    """Return whether `Accept-Encoding` names gzip, and not to refuse it (`gzip;q=0`)."""
    return bool(re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", accepted))


@cache
def _read(path: Path, changed_ns: int) -> _File:
    content = path.read_bytes()
    packed = gzip.compress(content, mtime=0)
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:20]}"'  # weak: the same file, packed or not
    smaller = packed if len(packed) < len(content) else None
    return _File(content, smaller, MEDIA_TYPES.get(path.suffix, PLAIN), etag)
