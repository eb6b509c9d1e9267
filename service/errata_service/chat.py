"""Conversations as the engine takes them: the model's own chat template makes token ids of messages.

Control tokens come from the template alone. What stands in a message is encoded as text, also where it is spelled like
one, so that nobody can end a turn or begin another one from within a message.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from errata.errors import Place
from errata.model import EditableModel
from errata.model.chat import end_ids_of, has_template
from errata_service.problems import ProblemError

SAID = "Certainly"
TURN: Sequence[Mapping[str, str]] = ({"role": "user", "content": "Is it?"}, {"role": "assistant", "content": SAID})


class ChatTemplate:
    """The chat template of a model.

    Attributes:
        end_ids: the tokens that end an answer: the one that the template puts behind an assistant's turn, and those by
            which the model ends any text.
    """

    def __init__(self, model: EditableModel) -> None:
        # Encoding a control token as text flips a switch of the tokenizer, which others use at the same time.
        self._tokenizer: Any = copy.deepcopy(model.tokenizer)
        self._lock = threading.Lock()
        self.end_ids = end_ids_of(model) | self._turn_ends()

    @classmethod
    def of(cls, model: EditableModel) -> ChatTemplate | None:
        """Return the template of a model, None where it has none."""
        return cls(model) if has_template(model) else None

    def prompt_ids(self, messages: Sequence[Mapping[str, str]], place: str) -> list[int]:
        """Return the tokens of a conversation, up to where the assistant begins its answer.

        Raises:
            ProblemError: the template refuses the messages, which stand at `place`, a JSON pointer.
        """
        return list(self._applied(messages, place, return_dict=False, sanitize_control_tokens=True))

    def prompt_text(self, messages: Sequence[Mapping[str, str]], place: str) -> str:
        """Return the same as text. Raises as `prompt_ids`."""
        return str(self._applied(messages, place, tokenize=False))

    def _applied(self, messages: Sequence[Mapping[str, str]], place: str, **options: Any) -> Any:
        try:
            with self._lock:
                return self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, **options)
        except Exception as error:  # a template is a program, and whatever it raises is about these messages
            detail = f"are refused by the model's chat template: {error}"
            raise ProblemError(
                422, "refused-by-template", f"the messages {detail}", places=[Place(place, detail)]
            ) from error

    def _turn_ends(self) -> frozenset[int]:
        """Return the first control token behind an assistant's words, unless the template puts text there."""
        try:
            text: str = self._tokenizer.apply_chat_template(list(TURN), tokenize=False)
        except Exception:  # such a template may take other conversations all the same
            return frozenset()
        _, said, behind = text.rpartition(SAID)
        for token_id in self._tokenizer.encode(behind, add_special_tokens=False) if said else ():
            added = self._tokenizer.added_tokens_decoder.get(token_id)
            if added is not None and not added.content.isspace():
                return frozenset([token_id])
            if self._tokenizer.decode([token_id]).strip():
                break
        return frozenset()


def no_chat_template(name: str) -> ProblemError:
    """Return what is told to those who send messages to a model that has no template for them."""
    detail = (
        f"the model {name} has no chat template, so it takes no messages; "
        "`/v1/completions` and `/generate` continue a prompt"
    )
    return ProblemError(422, "no-chat-template", detail, places=[Place("/messages", detail)])
