"""Browsers: which of their requests are refused, and what answers tell them.

A service without keys does what whoever reaches it asks. The browser of somebody who may reach it also runs the pages
of others, which could ask in that person's name. Such a page is known by what the browser says of it (`Origin`,
`Sec-Fetch-Site`), or, where a name of another site was made to lead here (DNS rebinding), by the name that the browser
asked for (`Host`).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from errata_registry.settings import Settings
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errata_service.problems import ProblemError, answer
from errata_service.routes.docs import DOCS, POLICY as DOCS_POLICY

_POLICY = "default-src 'none'; frame-ancestors 'none'"


class SameSite:
    """Refuses what the pages of other sites ask for where nobody is asked for a key, and names that are not known.

    With keys, which no other page has, a name is checked only where settings say which names there are.
    """

    def __init__(self, app: ASGIApp, settings: Settings, *, has_keys: bool) -> None:
        self._app = app
        self._has_keys = has_keys
        self._checks_names = not has_keys or bool(settings.allowed_hosts)
        named = [name.strip().lower() for name in settings.allowed_hosts.split(",")]
        self._names = {"localhost", settings.host.lower(), *filter(None, named)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers.setdefault("Content-Security-Policy", DOCS_POLICY if scope["path"] == DOCS else _POLICY)
            await send(message)

        app = self._app
        if foreign := self._foreign(Headers(scope=scope)):
            app = answer(ProblemError(403, "foreign-site", foreign), scope["path"])
        await app(scope, receive, send_safely)

    def _foreign(self, headers: Headers) -> str | None:
        """Return why a request is another site's, None where it is not."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._checks_names and not self._is_known(host):
            return f"the host {host!r} is not a name of this service; ERRATA_ALLOWED_HOSTS says which names it has"
        if self._has_keys:
            return None
        if origin is not None and origin.partition("://")[2] != host:
            return f"the origin {origin!r} is not this service's own, and without API keys other sites may not use it"
        # A link that somebody follows from another site shows that person an answer, and the other site nothing.
        follows_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not follows_link:
            return "a page of another site asked for this, and without API keys other sites may not use this service"
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self._names or _is_address(name))


def _is_address(name: str) -> bool:
    """Return True for an IP address, which nobody can make to lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
