"""A request that a vLLM server computes, in the events of our own engine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
from transformers import PreTrainedTokenizerFast

from errata_service.engine.detokenizer import Detokenizer
from errata_service.engine.engine import STOPPING
from errata_service.engine.events import Accepted, Event, Failed, Finished, FinishReason, NewToken, Prefilled, Token
from errata_service.engine.request import SequenceInput, timed_out
from errata_service.problems import NotReady
from errata_service.streaming import KeepAlive, Stream

VERSION_HEADER = "X-Errata-Version"
COLDEST = 1e-4  # below it a draw is greedy, as our own engine's
DATA = b"data: "
DONE = b"[DONE]"
LONGEST_LINE = 1000

log = logging.getLogger(__name__)


class _Lost(Exception):
    """A server did not take a request, or did not bring it to its end."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server that may compute a request: its URL, and what it calls the version that is asked for.

    Attributes:
        version: the one that is asked for there.
        pinned: whether no other will do.
    """

    url: str
    model: str
    version: int
    pinned: bool


@dataclass(slots=True)
class _Sequence:
    """One prompt's continuation as it comes in."""

    index: int
    input: SequenceInput
    detokenizer: Detokenizer
    end_ids: frozenset[int]
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
            logprob, likeliest = _logprobs_at(logprobs, at, most=self.input.num_logprobs or 0)
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

    Where a server is lost, the next one begins anew, under the same version, as long as nothing was told yet: of a
    request that is not streamed, nothing is told before all of it has ended.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        places: Iterable[Place],
        compute_here: Callable[[int | None], Awaitable[Stream]],
        inputs: Sequence[SequenceInput],
        tokenizer: PreTrainedTokenizerFast,
        end_ids: frozenset[int],
        *,
        max_tokens: int,
        streamed: bool,
        timeout_s: float,
        num_sent: Counter[str],
    ) -> None:
        """Send the request.

        Args:
            compute_here: asks our own engine, under the version that a server had begun with, if one had.
            end_ids: the tokens by which the model ends any text.
            max_tokens: how many each input may get.
            timeout_s: how long all of it may take.
            num_sent: counts the requests that each server computes, by its URL.
        """
        super().__init__(len(inputs), streamed=streamed)
        self._http = http
        self._compute_here = compute_here
        self._inputs = inputs
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._max_tokens = max_tokens
        self._timeout_s = timeout_s
        self._num_sent = num_sent
        self._version: int | None = None
        self._is_told = False
        self._reading = asyncio.create_task(self._read(list(places)))

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

    async def _read(self, places: Sequence[Place]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                if not await self._read_from_one_of(places):
                    await self._read_from_here()
        except TimeoutError:
            self._put([Failed(timed_out(self._timeout_s))])
        except Exception as error:  # whoever waits for events must hear of it, whatever it is
            self._put([Failed(error)])

    async def _read_from_one_of(self, places: Sequence[Place]) -> bool:
        """Return whether a server brought the request to its end. Raises `NotReady` where part of it was told."""
        for place in places:
            if self._version not in (None, place.version):
                continue
            self._num_sent[place.url] += 1
            try:
                await self._read_from(place)
                return True
            except (_Lost, httpx.HTTPError) as error:
                log.warning("%s does not compute a request: %s", place.url, error or type(error).__name__)
                if self._is_told:
                    raise NotReady("the server that computed this was lost; try again") from error
            finally:
                self._num_sent[place.url] -= 1
        return False

    async def _read_from_here(self) -> None:
        with closing(await self._compute_here(self._version)) as stream:
            self._accept(stream.version)
            async for event in stream.events():
                if not isinstance(event, KeepAlive):  # this stream has its own
                    self._put([event])

    async def _read_from(self, place: Place) -> None:
        headers = {VERSION_HEADER: str(place.version)} if place.pinned or self._version is not None else {}
        sequences = [
            _Sequence(
                index,
                one,
                Detokenizer(self._tokenizer, one.prompt_ids, one.stop),
                self._end_ids | one.end_ids,
            )
            for index, one in enumerate(self._inputs)
        ]
        unfinished = len(sequences)
        body = _body(place.model, self._inputs, self._max_tokens, self._end_ids)
        async with self._http.stream("POST", f"{place.url}/v1/completions", json=body, headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                said = (await answer.aread()).decode(errors="replace")
                raise _Lost(f"{answer.status_code} {said[:LONGEST_LINE]}")
            version = int(answer.headers.get(VERSION_HEADER, place.version))
            begun: set[int] = set()
            ends: list[Event] = []
            async for choice in _choices(answer):
                self._accept(version)
                sequence = sequences[choice["index"]]
                events: list[Event] = [] if sequence.index in begun else [sequence.begin()]
                begun.add(sequence.index)
                events += sequence.add(choice)
                if reason := choice.get("finish_reason"):
                    if reason not in ("stop", "length"):
                        raise _Lost(f"it ended with {reason}")
                    unfinished -= 1
                    events.append(sequence.finish(reason))
                if self._streamed:
                    self._is_told = True
                    self._put(events)
                else:
                    ends += [event for event in events if isinstance(event, Finished)]
        if unfinished:
            raise _Lost("it ended too early")
        self._put(ends)

    def _accept(self, version: int) -> None:
        if self._version is None:
            self._version = version
            self._put([Accepted()])


def _body(model: str, inputs: Sequence[SequenceInput], max_tokens: int, end_ids: frozenset[int]) -> dict[str, Any]:
    """Return what a server is asked with for inputs that differ in their prompts alone.

    Every way of choosing tokens is named: what is not, a server takes from the model's `generation_config.json`.
    """
    first = inputs[0]
    sampling = first.sampling
    body: dict[str, Any] = {
        "model": model,
        "prompt": [list(one.prompt_ids) for one in inputs],
        "max_tokens": max_tokens,
        "temperature": 0 if sampling.temperature < COLDEST else sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or 0,  # all of them
        "min_p": 0,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "stop": list(first.stop),
        "stop_token_ids": sorted(end_ids | first.end_ids),
        "stream": True,
        "return_token_ids": True,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if first.num_logprobs is not None:
        body |= {"logprobs": first.num_logprobs, "return_tokens_as_token_ids": True}
    return body


async def _choices(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield what each event adds to a choice."""
    async for line in _lines(answer):
        if not line.startswith(DATA):
            continue
        data = line.removeprefix(DATA)
        if data == DONE:
            return
        try:
            content = json.loads(data)
            choices = content["choices"]
        except (ValueError, KeyError, TypeError) as error:
            raise _Lost(line[:LONGEST_LINE].decode(errors="replace")) from error
        for choice in choices:
            yield choice


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Yield lines. Those of httpx also end at U+0085, U+2028 and U+2029, which stand unescaped in what models say."""
    begun = b""
    async for received in answer.aiter_bytes():
        *lines, begun = (begun + received).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")


def _logprobs_at(logprobs: dict[str, Any], at: int, *, most: int) -> tuple[float | None, tuple[tuple[int, float], ...]]:
    """Return the log probability of an event's token, and (token id, log probability) of the `most` likeliest ones.

    A server adds the event's token to the likeliest ones.
    """
    values = logprobs.get("token_logprobs") or ()
    if at >= len(values):
        return None, ()
    likeliest = (logprobs.get("top_logprobs") or [{}] * len(values))[at] or {}
    found = [(int(name.removeprefix("token_id:")), value) for name, value in likeliest.items()]
    return values[at], tuple(sorted(found, key=lambda one: -one[1])[:most])
