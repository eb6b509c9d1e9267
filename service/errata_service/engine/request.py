"""A request to the engine: what to generate, under which version, and who is told."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from torch import Tensor

from errata_service.engine.events import Event
from errata_service.engine.sampling import GREEDY, SamplingParams
from errata_service.engine.weight_sets import WeightSet
from errata_service.problems import ProblemError

Deliver = Callable[[Sequence[Event]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceInput:
    """A prompt, and how to continue it.

    Attributes:
        prompt_ids: at least one token, and no more than the model's context holds.
        max_new_tokens: upper bound of tokens to generate; the context may end before it.
        stop: texts before which the continuation ends.
        end_ids: tokens that end the continuation beside those by which the model ends any text.
        num_logprobs: give each token's log probability and those of this many likeliest tokens; None gives neither.
        prompt_logprobs: give them for the prompt's tokens too.
        prompt_offsets: where the text of each prompt token begins; needed with `prompt_logprobs`.
    """

    prompt_ids: Sequence[int]
    max_new_tokens: int
    sampling: SamplingParams = GREEDY
    stop: tuple[str, ...] = ()
    end_ids: frozenset[int] = frozenset()
    num_logprobs: int | None = None
    prompt_logprobs: bool = False
    prompt_offsets: Sequence[int] = ()


class Request:
    """Sequences that are computed under one version, which is fixed when the request is accepted.

    Attributes:
        inputs: one for each sequence.
        version: the version to compute them under.
        streamed: whether each token is told.
        accepted_at, deadline: in seconds of `time.monotonic`.
        num_waiting: number of sequences that the scheduler has not admitted.
        num_unfinished: number of sequences that have not ended.
        cancelled: set when nobody waits for the answer any more.
        error: why the request failed.
        hold: keeps the version's weight set in memory; None until there is room for it.
        weights: the version's edited matrices by layer; None until they are loaded and the sequences are queued.
    """

    def __init__(
        self, inputs: Sequence[SequenceInput], version: int, deliver: Deliver, *, streamed: bool, timeout_s: float
    ) -> None:
        self.inputs = inputs
        self.version = version
        self.streamed = streamed
        self.accepted_at = time.monotonic()
        self.deadline = self.accepted_at + timeout_s
        self.num_waiting = self.num_unfinished = len(inputs)
        self.cancelled = False
        self.error: Exception | None = None
        self.hold: Future[WeightSet] | None = None
        self.weights: Mapping[int, Tensor] | None = None
        self._deliver = deliver
        self._undelivered: list[Event] = []

    def tell(self, event: Event) -> None:
        """Add an event to the next delivery."""
        self._undelivered.append(event)

    def deliver(self) -> None:
        """Deliver the events that were told since the last delivery."""
        if self._undelivered:
            events, self._undelivered = self._undelivered, []
            self._deliver(events)


class StepFailed(ProblemError):
    """An unexpected error ended the computation of a request."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            500, "step-failed", f"computing this failed ({type(error).__name__}); the service's log says more"
        )


def timed_out(limit_s: float) -> ProblemError:
    """Return the problem of a request that took too long."""
    return ProblemError(504, "timed-out", f"the generation did not end within {limit_s:g} s")
