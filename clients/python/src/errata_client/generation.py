"""Generation: what is sent for it, and its tokens one by one, read from the service's event stream."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from errata_client.errors import ConnectionFailed, StatusError, status_error
from errata_client.event_streams import as_agreed, read_events
from errata_client.options import GenerationSettings, checked
from errata_client.records import EndEvent, Generation, Message, Problem, TokenEvent
from errata_client.records.wordings import in_words
from errata_client.requests import EVENT_STREAM, Request
from errata_client.responses import parse
from errata_client.transport import Transport


class GeneratedToken(TokenEvent):
    """One more token, as `records.TokenEvent` tells."""

    kind: Literal["token"] = "token"


class GenerationEnd(EndEvent):
    """The end of a prompt, as `records.EndEvent` tells. `finish_reason` is "stop" or "length"."""

    kind: Literal["end"] = "end"


GenerationEvent: TypeAlias = GeneratedToken | GenerationEnd
MessageInput: TypeAlias = Message | Mapping[str, Any] | tuple[str, str]
"""A turn of a conversation: a `Message`, a mapping with the same names or a (role, content) tuple."""


def generate_request(prompt: str | Sequence[str], settings: GenerationSettings) -> Request[Generation]:
    """Return the request for whole completions."""
    prompts = {"prompt": prompt} if isinstance(prompt, str) else {"prompts": list(prompt)}
    body = {**prompts, **checked(settings, GenerationSettings)}
    return Request(method="POST", path="/generate", answer=Generation, body=body)


def chat_request(messages: str | Iterable[MessageInput], settings: GenerationSettings) -> Request[Generation]:
    """Return the request for an answer to a conversation. Raises `ValueError` where a message has another form."""
    several = [("user", messages)] if isinstance(messages, str) else messages
    body = {"messages": [_message(one).model_dump() for one in several], **checked(settings, GenerationSettings)}
    return Request(method="POST", path="/generate", answer=Generation, body=body)


def _message(given: MessageInput) -> Message:
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise ValueError(f"a message is a role and its content, got {len(given)} parts")
        given = {"role": given[0], "content": given[1]}
    with in_words(Message):
        return Message.model_validate(given)


async def generation_events(
    transport: Transport, request: Request[Generation], num_prompts: int
) -> AsyncGenerator[GenerationEvent, None]:
    """Yield the events of a generation until every prompt has ended.

    It is asked for again only until its first event: later, it would begin anew.
    """
    request = replace(request, body={**(request.body or {}), "stream": True}, accepts=EVENT_STREAM)
    attempts, begun = transport.attempts(request), False
    while True:
        try:
            async with transport.open(request) as response:
                async for _, name, data in read_events(transport, response):
                    begun = True
                    with as_agreed(name, data):
                        event = _event(name, data)
                    if event is not None:
                        yield event
                    num_prompts -= isinstance(event, GenerationEnd)
                    if not num_prompts:
                        return
            raise ConnectionFailed("the generation broke off", may_have_arrived=True)
        except (ConnectionFailed, StatusError) as error:
            if begun:
                raise
            await attempts.pause_after(error)


def _event(name: str, data: str) -> GenerationEvent | None:
    """Return the typed event, or None for one that only a newer service knows. Raises what an `error` event tells."""
    match name:
        case "token":
            return parse(GeneratedToken, data)
        case "end":
            return parse(GenerationEnd, data)
        case "error":
            raise status_error(parse(Problem, data), retry_after=None)
    return None
