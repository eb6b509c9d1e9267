"""Generation token by token, read from the service's event stream."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from errata_client import routes
from errata_client.errors import ConnectionFailed, StatusError, status_error
from errata_client.event_streams import EventStream
from errata_client.models import Problem, Record, Usage


class GeneratedToken(Record):
    """Prompt number `index` goes on by a token, under this version.

    `text` is empty where a character is not whole yet, or where it may become a stop text.
    """

    kind: Literal["token"] = "token"
    index: int
    text: str
    version: int


class GenerationEnd(Record):
    """Prompt number `index` has ended. `text` is what was held back: all `text` together is the completion.

    `finish_reason` is "stop" or "length".
    """

    kind: Literal["end"] = "end"
    index: int
    text: str
    finish_reason: str
    usage: Usage
    version: int


GenerationEvent: TypeAlias = GeneratedToken | GenerationEnd


class GenerationEvents(EventStream[GenerationEvent]):
    """The events of one generation. It is asked for again only until its first event: later, it would begin anew."""

    def __init__(self, prompt: str | Sequence[str], settings: routes.GenerationSettings, max_retries: int) -> None:
        super().__init__("the generation", max_retries)
        self._generation = routes.stream(prompt, settings)
        self._unended = 1 if isinstance(prompt, str) else len(prompt)
        self._begun = False

    def pause_after(self, error: ConnectionFailed | StatusError) -> float:
        if self._begun:
            raise error
        return super().pause_after(error)

    def _request(self) -> routes.Request[None]:
        return self._generation

    def _read(self, event_id: str, name: str, data: str) -> GenerationEvent | None:
        self._begun = True
        match name:
            case "token":
                return GeneratedToken.model_validate_json(data)
            case "end":
                end = GenerationEnd.model_validate_json(data)
                self._unended -= 1
                self.ended = self._unended == 0
                return end
            case "error":
                raise status_error(Problem.model_validate_json(data), retry_after=None)
            case _:
                return None
