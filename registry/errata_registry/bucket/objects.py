"""The objects of a bucket: few kinds of requests, whose failures are told apart by what is known of their effect.

Of an object store nothing is asked but that a conditional put (`If-None-Match: *`) is taken by one of several writers.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from errata.files.disk import Refused

ANSWER_S = 5.0  # of a request for a record
TRANSFER_S = 120.0  # of a request for a part of a large file
PART = 16 << 20  # bytes that are downloaded by one request
LISTED_AT_ONCE = 1000
SCHEMES = ("s3://", "gs://", "az://")

Answer = TypeVar("Answer")


class NoConditionalPuts(ValueError):
    """The object store does not keep to conditional puts."""


class Bucket:
    """The objects below a URL such as `s3://bucket/prefix`. Safe to use from several threads.

    Where the store is and who asks it is read from its own environment variables (`AWS_ENDPOINT_URL`,
    `AWS_ACCESS_KEY_ID`, `AWS_REGION` and so on).
    """

    def __init__(self, url: str) -> None:
        """Nothing is asked of the store yet. Raises `ValueError` for a URL that cannot be used."""
        try:
            import obstore.exceptions
            import obstore.store
        except ImportError as error:
            raise ValueError(f"ERRATA_BUCKET needs a package: pip install 'errata[bucket]' ({error})") from error
        if not url.startswith(SCHEMES):
            raise ValueError(f"ERRATA_BUCKET {url!r} names no bucket; it should be like s3://bucket/prefix")
        self.url = url
        self._obstore, self._errors = obstore, obstore.exceptions

        def connect(timeout_s: float, retries: int) -> Any:
            options: Any = {"timeout": timedelta(seconds=timeout_s), "connect_timeout": timedelta(seconds=ANSWER_S)}
            retry: Any = {"max_retries": retries}
            config: Any = {}
            if url.startswith("s3://"):
                options["allow_http"] = True  # the endpoint's own scheme says which it is
                config["disable_bulk_delete"] = True  # not all servers know it
            return obstore.store.from_url(url, config=config, client_options=options, retry_config=retry)

        try:
            # A put that is tried again by itself may meet its own object, and be taken for another one's.
            self._records, self._files = connect(ANSWER_S, 0), connect(TRANSFER_S, 5)
        except (self._errors.BaseError, ValueError) as error:
            raise ValueError(f"ERRATA_BUCKET {url!r} cannot be used: {error}") from error

    def require_conditional_puts(self) -> None:
        """Raise `NoConditionalPuts` unless the second put of one name is refused, and `OSError` if it says nothing."""
        name = f"probe/{secrets.token_hex(8)}"
        if not self.put_new(name, b"1") or self.put_new(name, b"2"):
            raise NoConditionalPuts(
                f"the object store of {self.url} does not keep to conditional puts (If-None-Match: *), without which "
                "two machines would take the same version's number: it cannot hold a home"
            )
        with suppress(OSError):
            self.delete(name)

    def put_new(self, name: str, content: bytes) -> bool:
        """Put an object unless there is one of that name; return False where there is.

        Raises `OSError` where the answer is missing: then it may have been put, and may be yet.
        """
        try:
            self._ask(lambda: self._obstore.put(self._records, name, content, mode="create", use_multipart=False))
        except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
            return False
        return True

    def get(self, name: str) -> bytes | None:
        """Return what an object holds, None where there is none. Raises `OSError`."""
        try:
            return self._ask(lambda: bytes(self._obstore.get(self._records, name).bytes()))
        except FileNotFoundError:  # as the client says it
            return None

    def names_after(self, prefix: str, name: str) -> list[str]:
        """Return the names below a prefix that come after one of them, ascending. Raises `OSError`."""

        def listed() -> list[str]:
            pages = self._obstore.list(self._records, prefix, offset=name, chunk_size=LISTED_AT_ONCE)
            return sorted(found["path"] for page in pages for found in page)

        return self._ask(listed)

    def names_older(self, prefix: str, age: timedelta) -> list[str]:
        """Return the names below a prefix of what was put so long before the latest that lies there.

        The clock is the store's alone: that of a machine may be weeks ahead. Raises `OSError`.
        """

        def listed() -> list[tuple[datetime, str]]:
            pages = self._obstore.list(self._records, prefix, chunk_size=LISTED_AT_ONCE)
            return [(found["last_modified"], found["path"]) for page in pages for found in page]

        put = self._ask(listed)
        latest = max((moment for moment, _ in put), default=None)
        return [name for moment, name in put if latest is not None and moment < latest - age]

    def upload(self, name: str, content: bytes | Path) -> None:
        """Put an object under a name that nobody else uses. Raises `OSError`."""
        self._ask(lambda: self._obstore.put(self._files, name, content))

    def download(self, name: str, path: Path) -> bool:
        """Write what an object holds to a file; return False where there is none. Raises `OSError`."""

        def written() -> None:
            size = self._obstore.head(self._files, name)["size"]
            with path.open("wb") as file:
                for start in range(0, size, PART):  # a time for each, as one for all would be too short for the largest
                    end = min(start + PART, size)
                    file.write(self._obstore.get_range(self._files, name, start=start, end=end))

        try:
            self._ask(written)
        except FileNotFoundError:  # as the client says it
            return False
        return True

    def delete(self, name: str) -> None:
        """Take an object away, if it is there. Raises `OSError`."""
        with suppress(FileNotFoundError):
            self._ask(lambda: self._obstore.delete(self._records, name))

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """Return an answer that is one; raise `Refused` where none came."""
        try:
            return request()
        except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
            raise
        except self._errors.BaseError as error:
            raise Refused(errno.EIO, f"the bucket {self.url} does not do its part: {_gist(error)}") from error


def _gist(error: Exception) -> str:
    """Return the first line of an error of the store's client, which tells of the way through its parts at length."""
    return str(error).partition("\n")[0].strip()[:200]
