"""Prompts to trace: each about a subject, with the token that answers it."""

from __future__ import annotations

from dataclasses import dataclass

from errata.errors import TracingError
from errata.facts import PLACEHOLDER, trimmed
from errata.model import EditableModel
from errata.model.tokens import target_ids, with_subject


@dataclass(frozen=True, slots=True)
class TracedPrompt:
    """A prompt as tokens."""

    template: str  # the prompt with `{}` where the subject stands
    subject: str  # what the prompt is about
    token_ids: tuple[int, ...]  # of the prompt with the subject in it
    subject_tokens: range  # the places of the subject's tokens in it
    # first token of the expected answer; None stands for the token that the model itself finds likeliest
    answer_id: int | None = None

    @classmethod
    def of(cls, model: EditableModel, template: str, subject: str, answer: str | None = None) -> TracedPrompt:
        """Tokenise a prompt. If the answer has several tokens, the first is traced.

        Raises:
            TracingError: there is no subject, no one place for it, no answer in `answer`, or no room in the model.
        """
        if template.count(PLACEHOLDER) != 1:
            raise TracingError(f"the prompt {template!r} must hold {PLACEHOLDER} once, where the subject stands")
        if not subject.strip():
            raise TracingError(f"the subject of {template!r} is empty")
        if answer is not None and not answer.strip():
            raise TracingError(f"the answer to {template!r} is empty")
        template, subject = trimmed(template), subject.strip()
        token_ids, subject_tokens = with_subject(model.tokenizer, template, subject)
        if len(token_ids) > model.max_length:
            raise TracingError(
                f"{template[:60]!r} takes {len(token_ids)} tokens; the model has room for {model.max_length}"
            )
        prompt = template.replace(PLACEHOLDER, subject)
        answer_id = None if answer is None else target_ids(model.tokenizer, answer, prompt)[0]
        return cls(template, subject, token_ids, subject_tokens, answer_id)
