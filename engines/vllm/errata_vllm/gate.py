"""The gate before a vLLM server's routes: it knows which version is in place, and changes it between two requests.

A request is computed as a whole under the version that was in place when it passed the gate. A change of version is
prepared while requests go on. Then the gate lets no more requests in, waits for those that are inside, puts the
version in place and opens again. Where they do not end in time (`ERRATA_DRAIN_S`), it opens again under the version
before, and who asked for the next one is told to try again (503).

    GET  /errata/version     {"version": 3, "sha256": …, "arriving": null, "base": …}
    PUT  /errata/version     {"version": 4, "update": …, "sha256": …, "modules": …, "transposed": …}; {"version": 0}
                             both with {"base": {"digest": …, "values": …, "modules": …, "transposed": …}}: some values
                             of the model that versions are updates of. A server of another one takes none (409)
    X-Errata-Version         in a request: take no other version, else 409; in each answer: the version it was made by
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import vllm

BASE_VERSION = 0
HEADER = b"x-errata-version"
PATH = "/errata/version"
LONGEST_BODY = 1 << 20
DRAIN_S = float(os.environ.get("ERRATA_DRAIN_S") or 60)  # a client that reads no further must not shut out all others
# By how much one model's values may differ between two programs: rounding to bfloat16 has errors of up to 1/512.
DIFFERENT = 1 / 400
# What the client of the engine is asked for, and with which arguments.
NEEDED = {"collective_rpc": ("method", "args"), "pause_generation": ("mode", "clear_cache"), "resume_generation": ()}
# Caches outside the GPU that are a server's own and that a pause empties; of others it empties none, or not all.
EMPTIED, EMPTIED_SPEC = ("OffloadingConnector", "SimpleCPUOffloadConnector"), "CPUOffloadingSpec"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger("errata_vllm")


class Refused(Exception):
    """A request that is not let in: its status, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Gate:
    """ASGI middleware (`--middleware`)."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._version = BASE_VERSION
        self._sha256: str | None = None  # of the update in place
        self._base: str | None = None  # digest of the base model that the server was found to serve
        self._arriving: int | None = None  # the version that those inside are waited for
        self._failure: str | None = None  # why nobody knows what is in place
        self._inside = 0  # requests that are being computed
        self._empty, self._open = asyncio.Event(), asyncio.Event()
        self._empty.set()
        self._open.set()
        self._switching = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if path == PATH:
                await self._tell_or_switch(scope, receive, send)
            elif scope["method"] == "POST":
                async with self._passed(_version_wanted(scope)) as version:
                    await self._app(scope, receive, _naming(version, send))
            else:
                await self._app(scope, receive, send)
        except Refused as error:
            await _answer(send, error.status, {"error": {"message": str(error), "code": error.status}}, self._version)

    @asynccontextmanager
    async def _passed(self, wanted: int | None) -> AsyncIterator[int]:
        """Go through the gate, and give the version that is in place until the end. Raises `Refused`."""
        while not self._open.is_set():
            if wanted not in (None, self._arriving):
                raise Refused(409, f"version {self._arriving} is being put in place, not {wanted}")
            await self._open.wait()
        if self._failure is not None:
            raise Refused(503, self._failure)
        if wanted not in (None, self._version):
            raise Refused(409, f"version {self._version} is in place, not {wanted}")
        self._inside += 1
        self._empty.clear()
        try:
            yield self._version
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def _tell_or_switch(self, scope: Message, receive: Receive, send: Send) -> None:
        _authorize(scope)
        engine = _engine_of(scope)
        if scope["method"] == "GET":
            told = {
                "version": self._version,
                "sha256": self._sha256,
                "arriving": self._arriving,
                "base": self._base,
                "vllm": vllm.__version__,
            }
            return await _answer(send, 200, told, self._version)
        if scope["method"] != "PUT":
            raise Refused(405, "GET or PUT")
        wanted = await _body(receive)
        try:
            # Who asked may go away; what was begun goes on.
            times = await asyncio.shield(asyncio.ensure_future(self._switch(engine, wanted)))
        except Refused:
            raise
        except Exception as error:
            log.exception("version %s was not put in place", wanted["version"])
            raise Refused(500, f"{type(error).__name__}: {error}") from error
        await _answer(send, 200, {"version": self._version, **times}, self._version)

    async def _switch(self, engine: Any, wanted: dict[str, Any]) -> dict[str, float]:
        """Prepare a version and put it in place; return how many milliseconds each took, and waiting for requests."""
        version = int(wanted["version"])
        async with self._switching:
            began = time.perf_counter()
            if (base := wanted.get("base")) and base["digest"] != self._base:
                await _require_same(engine, base)
                self._base = base["digest"]
            if version != BASE_VERSION:
                await _prepare(engine, version, wanted)
            prepared = time.perf_counter()
            self._arriving = version
            self._open.clear()
            try:
                await self._wait_until_empty(version)
                alone = time.perf_counter()
                await self._put_in_place(engine, version, wanted.get("sha256"))
            finally:
                self._arriving = None
                self._open.set()
            swapped = time.perf_counter()
        return {
            "load_ms": 1000 * (prepared - began),
            "drain_ms": 1000 * (alone - prepared),
            "swap_ms": 1000 * (swapped - alone),
        }

    async def _wait_until_empty(self, version: int) -> None:
        """Wait for those inside. Raises `Refused` where they do not end in time."""
        try:
            await asyncio.wait_for(self._empty.wait(), DRAIN_S)
        except TimeoutError as error:
            inside = f"{self._inside} requests had not ended {DRAIN_S:.0f} s after they were waited for"
            raise Refused(503, f"{inside}; version {self._version} stays, try {version} again") from error

    async def _put_in_place(self, engine: Any, version: int, sha256: str | None) -> None:
        """Nobody is inside. What fails leaves the base in place, or a closed gate."""
        try:
            # It waits for what those that went away had begun, and empties the caches of keys and values. Where that
            # fails, vLLM is paused all the same.
            await engine.pause_generation(mode="wait", clear_cache=True)
            await self._put_into_the_workers(engine, version, sha256)
        finally:
            await engine.resume_generation()

    async def _put_into_the_workers(self, engine: Any, version: int, sha256: str | None) -> None:
        try:
            await engine.collective_rpc("errata_put_in_place", args=(version,))
            self._version, self._sha256, self._failure = version, sha256, None
        except Exception:
            self._failure = f"version {version} could not be put in place, nor the base; restart the server"
            await engine.collective_rpc("errata_put_in_place", args=(BASE_VERSION,))
            self._version, self._sha256, self._failure = BASE_VERSION, None, None
            raise


async def _require_same(engine: Any, base: dict[str, Any]) -> None:
    """Raise `Refused` where the server serves another model than a base model."""
    expected = {(layer, row, column): value for layer, row, column, value in base["values"]}
    args = (json.dumps(list(expected)), json.dumps(base["modules"]), bool(base["transposed"]))
    told = [place for one in await engine.collective_rpc("errata_values", args=args) for place in json.loads(one)]
    found = {(layer, row, column): value for layer, row, column, value in told}
    difference = math.hypot(*(found.get(place, math.inf) - value for place, value in expected.items()))
    if not difference <= DIFFERENT * math.hypot(*expected.values()):  # greater, or not a number
        raise Refused(409, "the server serves another model: its matrices are not those of the base that is edited")


async def _prepare(engine: Any, version: int, wanted: dict[str, Any]) -> None:
    modules = wanted["modules"]
    args = (version, wanted["update"], wanted["sha256"], json.dumps(modules), bool(wanted["transposed"]))
    found = {layer for told in await engine.collective_rpc("errata_prepare", args=args) for layer in json.loads(told)}
    if missing := {int(layer) for layer in modules} - found:
        raise Refused(422, f"the model has no matrix to edit in the layers {sorted(missing)}")


def _engine_of(scope: Message) -> Any:
    """Return vLLM's client of its engine. Raises `Refused` where this vLLM cannot be followed with."""
    state = scope["app"].state
    if getattr(state.args, "api_server_count", None) not in (None, 1):
        raise Refused(409, "versions are put into the weights of a server with one front: --api-server-count 1")
    engine = state.engine_client
    if missing := ", ".join(_missing(engine)):
        raise Refused(409, f"vLLM {vllm.__version__} has no {missing}; errata_vllm is made for 0.32")
    transfer = engine.vllm_config.kv_transfer_config
    if connector := getattr(transfer, "kv_connector", None):
        # Under another spec it keeps keys and values in more places, which a pause does not empty.
        spec = transfer.kv_connector_extra_config.get("spec_name", EMPTIED_SPEC)
        if connector not in EMPTIED or transfer.kv_connector_module_path or spec != EMPTIED_SPEC:
            raise Refused(
                409,
                f"keys and values in {connector} would outlive the version that they were computed by: "
                f"start vLLM without it, or with one of {', '.join(EMPTIED)} in main memory",
            )
    return engine


def _missing(engine: Any) -> Iterator[str]:
    """Yield what of `NEEDED` another release does not have."""
    for name, arguments in NEEDED.items():
        method = getattr(engine, name, None)
        if method is None:
            yield name
            continue
        taken = inspect.signature(method).parameters
        yield from (f"{argument} of {name}" for argument in arguments if argument not in taken)


def _authorize(scope: Message) -> None:
    """Ask for the server's own key, where it has one. Raises `Refused`."""
    keys = [key for key in (getattr(scope["app"].state.args, "api_key", None) or [vllm.envs.VLLM_API_KEY]) if key]
    given = dict(scope["headers"]).get(b"authorization", b"")
    if keys and not any(hmac.compare_digest(given, f"Bearer {key}".encode()) for key in keys):
        raise Refused(401, "the server's API key is needed")


def _version_wanted(scope: Message) -> int | None:
    given = dict(scope["headers"]).get(HEADER)
    if given is None:
        return None
    if not given.isdigit():
        raise Refused(400, "X-Errata-Version is no number")
    return int(given)


def _naming(version: int, send: Send) -> Send:
    """Add the version to the head of the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (HEADER, str(version).encode())]}
        await send(message)

    return sending


async def _body(receive: Receive) -> dict[str, Any]:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > LONGEST_BODY:
            raise Refused(413, "the body is too large")
    try:
        wanted = json.loads(body)
        int(wanted["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(422, "the body names no version") from error
    return dict(wanted)


async def _answer(send: Send, status: int, content: dict[str, Any], version: int) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (HEADER, str(version).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
