"""HTTP's methods: which of them a path takes, and HEAD and OPTIONS, which all paths have."""

from __future__ import annotations

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errata_service.problems import on_http_exception


class Methods:
    """Refuses methods that a path does not take, answers OPTIONS, and HEAD as GET without its body."""

    def __init__(self, app: ASGIApp, api: FastAPI) -> None:
        self._app = app
        self._routes = [(route.path, route.path_regex, route.methods) for route in iter_route_contexts(api.routes)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = self._allowed(scope["path"]) if scope["type"] == "http" else set()
        if not allowed or scope["method"] in allowed:
            answer = self._answer_head if scope.get("method") == "HEAD" else self._app
            await answer(scope, receive, send)
            return
        headers = {"Allow": ", ".join(sorted({*allowed, "OPTIONS"}))}
        if scope["method"] == "OPTIONS":
            response = Response(status_code=204, headers=headers)
        else:
            response = on_http_exception(Request(scope), HTTPException(405, headers=headers))
        await response(scope, receive, send)

    def _allowed(self, path: str) -> set[str]:
        """Return the methods that a path takes, none where there is no such path."""
        matching = [(name, methods) for name, regex, methods in self._routes if regex.match(path)]
        # `/versions/prune` is not one of the versions, although it has the form of their paths.
        named = [methods for name, methods in matching if name == path] or [methods for _, methods in matching]
        methods = {method for some in named for method in some or ()}
        return methods | {"HEAD"} if "GET" in methods else methods

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as GET does up to the body, which is not made where it would be streamed."""
        as_get = {**scope, "method": "GET"}
        with anyio.CancelScope() as answering:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.start":
                    scope["route"] = as_get.get("route")
                    await send(message)
                    await send({"type": "http.response.body"})
                    answering.cancel()

            await self._app(as_get, receive, send_head)
