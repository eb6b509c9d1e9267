"""What a vLLM server is asked for a generation, and what it answers, on the wire of its `/v1/completions`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from errata_service.engine.request import SequenceInput

COLDEST = 1e-4  # below it a draw is greedy, as our own engine's
DATA = b"data: "
DONE = b"[DONE]"
LONGEST_LINE = 1000


class Lost(Exception):
    """A server did not bring a request to its end."""


class Refused(Lost):
    """A server does not take a request, as it is; it may take others."""


async def require_taken(answer: httpx.Response) -> None:
    """Raise `Refused` or `Lost`, with what the server says, where it does not take a request."""
    if answer.status_code != httpx.codes.OK:
        said = f"{answer.status_code} {(await answer.aread()).decode(errors='replace')[:LONGEST_LINE]}"
        raise Lost(said) if answer.is_server_error else Refused(said)


def body_of(model: str, inputs: Sequence[SequenceInput], max_tokens: int, end_ids: frozenset[int]) -> dict[str, Any]:
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


async def choices_of(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield what each event adds to a choice. Raises `Lost` for what is no such event."""
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
            raise Lost(line[:LONGEST_LINE].decode(errors="replace")) from error
        for choice in choices:
            yield choice


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Yield lines. Those of httpx also end at U+0085, U+2028 and U+2029, which stand unescaped in what models say."""
    begun = b""
    async for received in answer.aiter_bytes():
        *lines, begun = (begun + received).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")


def logprobs_at(logprobs: dict[str, Any], at: int, *, most: int) -> tuple[float | None, tuple[tuple[int, float], ...]]:
    """Return the log probability of an event's token, and (token id, log probability) of the `most` likeliest ones.

    A server adds the event's token to the likeliest ones.
    """
    values = logprobs.get("token_logprobs") or ()
    if at >= len(values):
        return None, ()
    likeliest = (logprobs.get("top_logprobs") or [{}] * len(values))[at] or {}
    found = [(int(name.removeprefix("token_id:")), value) for name, value in likeliest.items()]
    return values[at], tuple(sorted(found, key=lambda one: -one[1])[:most])
