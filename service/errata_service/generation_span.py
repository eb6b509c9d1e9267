"""The span of a generation, by OpenTelemetry's conventions for generative AI: how much was said, and not what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from errata_registry import telemetry
from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from errata_service.engine.events import Finished
from errata_service.engine.request import SequenceInput

Operation = Literal["text_completion", "chat"]


class GenerationSpan:
    """One request to the engine, or to a server, from when it is asked until its stream is closed."""

    def __init__(self, operation: Operation, model: str, inputs: Sequence[SequenceInput]) -> None:
        """Begin it. `model` is the name that was asked for."""
        self._span = telemetry.begin(f"{operation} {model}")
        self._finished: dict[int, Finished] = {}
        # Choices of one prompt share its tokens, which count once.
        self._num_prompt_tokens = sum({id(one.prompt_ids): len(one.prompt_ids) for one in inputs}.values())
        if self._span.is_recording():
            self._span.set_attributes(_asked_for(operation, model, inputs))

    @contextmanager
    def present(self) -> Iterator[None]:
        """Whatever the block does is done within the span."""
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield

    def accept(self, version: int) -> None:
        """Note the version that it is computed under."""
        self._span.set_attribute("errata.version", version)
        self._span.set_attribute("gen_ai.response.model", f"errata@{version or 'base'}")

    def note(self, finished: Finished) -> None:
        """Note the end of a sequence."""
        self._finished[finished.index] = finished

    def fail(self, error: BaseException) -> None:
        """Note that it failed."""
        telemetry.note_failure(error, self._span)

    def end(self) -> None:
        """End it. To end it twice does nothing."""
        if self._span.is_recording():
            ended = [self._finished[index] for index in sorted(self._finished)]
            self._span.set_attribute("gen_ai.usage.input_tokens", self._num_prompt_tokens)
            self._span.set_attribute("gen_ai.usage.output_tokens", sum(len(one.tokens) for one in ended))
            self._span.set_attribute("gen_ai.response.finish_reasons", [one.finish_reason for one in ended])
            self._span.end()


def _asked_for(operation: Operation, model: str, inputs: Sequence[SequenceInput]) -> dict[str, AttributeValue]:
    first = inputs[0]
    asked: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "errata",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": first.max_new_tokens,
        "gen_ai.request.temperature": first.sampling.temperature,
        "gen_ai.request.top_p": first.sampling.top_p,
        "gen_ai.request.top_k": first.sampling.top_k,
        "gen_ai.request.seed": first.sampling.seed,
        "gen_ai.request.choice.count": len(inputs),
    }
    return {name: value for name, value in asked.items() if value is not None}
