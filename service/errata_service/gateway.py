"""The gateway: generations go to servers that follow and serve the version asked for, else to this process's engine."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Sequence

import httpx
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from errata.model.chat import end_ids_of
from errata_service.engine.engine import STOPPING, Engine
from errata_service.engine.request import SequenceInput
from errata_service.generation_span import GenerationSpan, Operation
from errata_service.metrics import Metrics
from errata_service.problems import NotReady
from errata_service.remote import Asked, RemoteStream
from errata_service.servers import Servers
from errata_service.streaming import RequestStream, Stream

CONNECT_S = 2.0
MOST_LOGPROBS = 20  # that vLLM gives by default


class Gateway:
    """Decides where each generation is computed.

    A request is sent on to the server that has the fewest of this process's prompts; where it does not take it, to the
    next, and in the end to the process's own engine. What no server could compute as our engine does stays here.
    """

    def __init__(self, registry: Registry, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._is_open = settings.gateway
        self._timeout_s = settings.generation_timeout_s
        self._end_ids = end_ids_of(engine.model)
        self._servers = Servers(registry, settings.max_queued_generations)
        if self._is_open:
            metrics.watch_servers(lambda: self._servers.num_prompts)
        key = {"Authorization": f"Bearer {settings.follow_key}"} if settings.follow_key else {}
        timeout = httpx.Timeout(settings.server_silence_s, connect=CONNECT_S)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(headers=key, timeout=timeout, limits=limits, trust_env=False)
        self._changed = threading.Condition()
        self._open_streams: set[RemoteStream] = set()
        self._is_closing = False

    async def open(
        self,
        inputs: Sequence[SequenceInput],
        version: int | None,
        *,
        streamed: bool,
        operation: Operation,
        model: str,
    ) -> Stream:
        """Generate under a version, the active one if it is None, and wait until the request is accepted.

        The caller closes the stream. Raises as `RequestStream.open`, and `Busy` where all servers have enough to do.

        Args:
            operation, model: what the request's span is called by; the model as it was asked for.
        """
        span = GenerationSpan(operation, model, inputs)
        try:
            with span.present():
                stream = await self._open_somewhere(inputs, version, streamed)
        except BaseException as error:
            span.fail(error)
            span.end()
            raise
        stream.belong_to(span)
        return stream

    async def _open_somewhere(self, inputs: Sequence[SequenceInput], version: int | None, streamed: bool) -> Stream:
        model = self._engine.model
        wanted = self._engine.active if version is None else version
        max_tokens = _max_tokens_of_all(inputs, model.max_length) if self._is_open else None
        places = []
        if max_tokens is not None and wanted is not None:
            places = await self._servers.places(wanted, len(inputs), pinned=version is not None)

        def compute_here(begun_with: int | None = None) -> Awaitable[Stream]:
            asked = version if begun_with is None else begun_with
            return RequestStream.open(self._engine, inputs, asked, streamed=streamed)

        with self._changed:
            if self._is_closing:
                raise NotReady(STOPPING)
            if max_tokens is not None and places:
                asked = Asked(inputs, model.tokenizer, self._end_ids, max_tokens, self._timeout_s)
                stream = RemoteStream(
                    self._http, self._servers, places, compute_here, asked, self._metrics, streamed=streamed
                )
                self._open_streams.add(stream)
                stream.on_end(self._note_end)
        if not places:
            return await compute_here()
        await stream.accepted()
        return stream

    def close(self, patience_s: float) -> None:
        """Accept no more requests. Those at servers that do not end within `patience_s` seconds fail as `NotReady`.

        Called from another thread than the event loop's. The engine must go on meanwhile: it may have to take over.
        """
        with self._changed:
            self._is_closing = True
            self._changed.wait_for(lambda: not self._open_streams, patience_s)
            for stream in self._open_streams:
                stream.stop()

    def _note_end(self, stream: RemoteStream) -> None:
        with self._changed:
            self._open_streams.discard(stream)
            self._changed.notify_all()


def _max_tokens_of_all(inputs: Sequence[SequenceInput], max_length: int) -> int | None:
    """Return how many tokens each input may get in a context of `max_length`.

    None where a server could not compute all inputs as one request, in which they may differ in their prompts alone.
    """
    asked = {
        (
            min(one.max_new_tokens, max_length - len(one.prompt_ids)),
            one.sampling,
            one.stop,
            one.end_ids,
            one.num_logprobs,
            one.prompt_logprobs,
        )
        for one in inputs
    }
    [(max_tokens, *_, num_logprobs, prompt_logprobs), *others] = asked
    is_sent = not others and max_tokens > 0 and not prompt_logprobs and (num_logprobs or 0) <= MOST_LOGPROBS
    return max_tokens if is_sent else None
