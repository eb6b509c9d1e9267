"""A request that a vLLM server computes, in the events of our own engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
from errata_registry import telemetry
from transformers import PreTrainedTokenizerFast

from errata_service.engine.detokenizer import Detokenizer
from errata_service.engine.engine import STOPPING
from errata_service.engine.events import Accepted, Event, Failed, Finished, FinishReason, NewToken, Prefilled, Token
from errata_service.engine.request import SequenceInput, timed_out
from errata_service.metrics import Metrics
from errata_service.problems import NotReady
from errata_service.servers import Place, Servers
from errata_service.streaming import KeepAlive, Stream
from errata_service.vllm.completions import Lost, Refused, body_of, choices_of, logprobs_at, require_taken

VERSION_HEADER = "X-Errata-Version"
REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server is to compute.

    Attributes:
        inputs: they differ in their prompts alone.
        end_ids: the tokens by which the model ends any text.
        max_tokens: how many each input may get.
        timeout_s: how long all of it may take.
    """

    inputs: Sequence[SequenceInput]
    tokenizer: PreTrainedTokenizerFast
    end_ids: frozenset[int]
    max_tokens: int
    timeout_s: float


@dataclass(slots=True)
class _Sequence:
    """One prompt's continuation as it comes in. `last_at`: when its last token came, or when it was asked for."""

    index: int
    input: SequenceInput
    detokenizer: Detokenizer
    end_ids: frozenset[int]
    last_at: float
    tokens: list[Token] = field(default_factory=list)

    def begin(self) -> Prefilled:
        return Prefilled(self.index, ())

    def add(self, choice: dict[str, Any]) -> list[NewToken]:
        """Take the tokens that an event brings."""
        events = []
        logprobs = choice.get("logprobs") or {}
        for at, token_id in enumerate(choice.get("token_ids") or ()):
            if self.detokenizer.stopped:
                break
            logprob, likeliest = logprobs_at(logprobs, at, most=self.input.num_logprobs or 0)
            token = Token(token_id, self.detokenizer.num_characters, logprob, likeliest)
            self.tokens.append(token)
            text = "" if token_id in self.end_ids else self.detokenizer.add(token_id)
            events.append(NewToken(self.index, text, token))
        return events

    def finish(self, reason: FinishReason) -> Finished:
        rest = self.detokenizer.finish()
        return Finished(
            index=self.index,
            text=self.detokenizer.text,
            rest=rest,
            tokens=self.tokens,
            prompt_tokens=(),
            finish_reason="stop" if self.detokenizer.stopped else reason,
            num_prompt_tokens=len(self.input.prompt_ids),
        )


class RemoteStream(Stream):
    """The events of one request to the first of several servers that takes it, or in the end to our own engine.

    Where a server is lost, or silent for too long, the next one begins anew, under the same version, as long as nothing
    was told yet: of a request that is not streamed, nothing is told before all of it has ended.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        servers: Servers,
        places: Sequence[Place],
        compute_here: Callable[[int | None], Awaitable[Stream]],
        asked: Asked,
        metrics: Metrics,
        *,
        streamed: bool,
    ) -> None:
        """Send the request. `compute_here` asks our own engine, under the version that a server had begun with."""
        super().__init__(len(asked.inputs), streamed=streamed)
        self._http = http
        self._servers = servers
        self._compute_here = compute_here
        self._asked = asked
        self._metrics = metrics
        self._asked_at = time.monotonic()
        self._place: Place | None = None
        self._num_unfinished = 0  # of what is at `_place`, as far as it was told
        self._version: int | None = None
        self._is_told = False
        self._move_to(places[0])  # at once: whoever comes next counts this
        self._reading = asyncio.create_task(self._read(places))
        self._reading.add_done_callback(lambda _: self._move_to(None))

    @property
    def version(self) -> int:
        assert self._version is not None, "it is known once the request is accepted"
        return self._version

    def close(self) -> None:
        self._reading.cancel()
        super().close()

    def stop(self) -> None:
        """Fail the request as `NotReady`. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._stop)

    def on_end(self, note: Callable[[RemoteStream], None]) -> None:
        """Call `note` in the event loop once nothing is computed for this any more."""
        self._reading.add_done_callback(lambda _: note(self))

    def _stop(self) -> None:
        if self._reading.cancel():
            self._put([Failed(NotReady(STOPPING))])

    def _move_to(self, place: Place | None) -> None:
        num_prompts = len(self._asked.inputs)
        if self._place is not None:
            self._servers.add_prompts(self._place, -num_prompts)
        if place is not None:
            self._servers.add_prompts(place, num_prompts)
        self._place = place
        self._num_unfinished = 0 if place is None else num_prompts

    async def _read(self, places: Sequence[Place]) -> None:
        try:
            async with asyncio.timeout(self._asked.timeout_s):
                if not await self._read_from_one_of(places):
                    self._move_to(None)
                    await self._read_from_here()
        except asyncio.CancelledError:
            self._count_ended("cancelled")
            raise
        except TimeoutError:
            self._count_ended("timed-out")
            self._put([Failed(timed_out(self._asked.timeout_s))])
        except Exception as error:  # whoever waits for events must hear of it, whatever it is
            self._count_ended("failed")
            self._put([Failed(error)])

    def _count_ended(self, how: str) -> None:
        if self._num_unfinished:  # what our own engine computes, it counts itself
            self._metrics.count_ended(how, self._num_unfinished, "server")

    async def _read_from_one_of(self, places: Sequence[Place]) -> bool:
        """Return whether a server brought the request to its end. Raises `NotReady` where part of it was told."""
        for place in places:
            if self._version not in (None, place.version):
                continue
            if place is not self._place:
                if not self._servers.has_room(place, len(self._asked.inputs)):
                    continue
                self._move_to(place)
            try:
                await self._read_from(place)
                return True
            except (Lost, httpx.HTTPError) as error:
                self._note_failure(place, error)
                if self._is_told:
                    raise NotReady("the server that computed this was lost; try again") from error
        return False

    def _note_failure(self, place: Place, error: Exception) -> None:
        log.warning("%s does not compute a request: %s", place.url, error or type(error).__name__)
        if isinstance(error, Refused):
            self._metrics.count_server_failure("refused")
            return
        self._servers.note_lost(place)
        self._metrics.count_server_failure("silent" if isinstance(error, httpx.ReadTimeout) else "lost")

    async def _read_from_here(self) -> None:
        with closing(await self._compute_here(self._version)) as stream:
            self._accept(stream.version)
            async for event in stream.events():
                if not isinstance(event, KeepAlive):  # this stream has its own
                    self._put([event])

    async def _read_from(self, place: Place) -> None:
        headers = {VERSION_HEADER: str(place.version)} if place.pinned or self._version is not None else {}
        if parent := telemetry.traceparent():
            headers[telemetry.TRACEPARENT] = parent
        sequences = self._sequences()
        ended: set[int] = set()
        body = body_of(place.model, self._asked.inputs, self._asked.max_tokens, self._asked.end_ids)
        async with self._http.stream("POST", f"{place.url}/v1/completions", json=body, headers=headers) as answer:
            await require_taken(answer)
            version = int(answer.headers.get(VERSION_HEADER, place.version))
            begun: set[int] = set()
            ends: list[Event] = []
            async for choice in choices_of(answer):
                self._servers.note_alive(place)
                self._accept(version)
                sequence = sequences[choice["index"]]
                events: list[Event] = [] if sequence.index in begun else [sequence.begin()]
                begun.add(sequence.index)
                events += self._added(sequence, choice)
                if reason := choice.get("finish_reason"):
                    events.append(sequence.finish(_reason(reason)))
                    ended.add(sequence.index)
                if self._streamed:
                    self._is_told = True
                    self._tell(events)
                else:
                    ends += [event for event in events if isinstance(event, Finished)]
        if len(ended) < len(sequences):
            raise Lost("it ended too early")
        self._tell(ends)

    def _sequences(self) -> list[_Sequence]:
        asked = self._asked
        return [
            _Sequence(
                index,
                one,
                Detokenizer(asked.tokenizer, one.prompt_ids, one.stop),
                asked.end_ids | one.end_ids,
                last_at=self._asked_at,
            )
            for index, one in enumerate(asked.inputs)
        ]

    def _added(self, sequence: _Sequence, choice: dict[str, Any]) -> list[NewToken]:
        """Return a sequence's new tokens, once they are counted: those of one event came at once."""
        is_first = not sequence.tokens
        if not (new := sequence.add(choice)):
            return new
        moment = time.monotonic()
        first_s, sequence.last_at = moment - sequence.last_at, moment
        at_once = [0.0] * (len(new) - 1)
        if is_first:
            self._metrics.note_prefill(len(sequence.input.prompt_ids), [first_s], "server")
            self._metrics.note_gaps(at_once, "server")
        else:
            self._metrics.note_gaps([first_s, *at_once], "server")
        return new

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Finished):
                self._num_unfinished -= 1
                self._metrics.count_ended(event.finish_reason, 1, "server")
        self._put(events)

    def _accept(self, version: int) -> None:
        if self._version is None:
            self._version = version
            self._put([Accepted()])


def _reason(given: str) -> FinishReason:
    """Return what ended a sequence. Raises `Lost` where that is none of our own engine's reasons."""
    if given not in REASONS:
        raise Lost(f"it ended with {given}")
    return REASONS[given]
