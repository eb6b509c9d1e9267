"""Who may do what: requests and the scopes of their keys."""

from collections.abc import Mapping
from typing import Annotated, Any

from errata_registry.api_keys import ApiKey, Scope, hash_of
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope as AsgiScope, Send

from errata_service.problems import ProblemError, answer

_bearer = HTTPBearer(auto_error=False, description="An API key; not needed where the service has no keys file.")


async def _key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> ApiKey | None:
    keys: Mapping[str, ApiKey] | None = request.app.state.keys
    return None if keys is None else _known_key(keys, credentials.credentials if credentials else None)


KeyDep = Annotated[ApiKey | None, Depends(_key)]


def requires(scope: Scope) -> Any:
    """A route dependency: let through who holds a key with `scope`, or anyone where there is no keys file."""

    async def check(key: KeyDep) -> None:
        if key is not None and scope not in key.scopes:
            detail = f"the key {key.name!r} does not have the scope {scope.value!r}"
            headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope.value}"'}
            raise ProblemError(403, "insufficient-scope", detail, headers=headers)

    return Depends(check)


async def caller(key: KeyDep) -> str | None:
    """Who sent a request: the name of the key; None where there is no keys file."""
    return key.name if key else None


class Gate:
    """Turns away, before anything of a request's body is read, who would send something without a key."""

    def __init__(self, app: ASGIApp, keys: Mapping[str, ApiKey]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            try:
                _known_key(self._keys, key.strip() if kind.lower() == "bearer" else None)
            except ProblemError as error:
                await answer(error, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _known_key(keys: Mapping[str, ApiKey], key: str | None) -> ApiKey:
    if not key:
        raise _unauthorized("this needs an API key, as `Authorization: Bearer <key>`", "Bearer")
    known = keys.get(hash_of(key))
    if known is None:
        raise _unauthorized("the API key is not known", 'Bearer error="invalid_token"')
    return known


def _unauthorized(detail: str, challenge: str) -> ProblemError:
    return ProblemError(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
