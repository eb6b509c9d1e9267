"""The scheduler: which sequences wait, which run, and which prompt tokens the next step computes."""

from collections import deque

from errata_registry.settings import Settings

from errata_service.engine.batch import Batch
from errata_service.engine.model_runner import ModelRunner
from errata_service.engine.request import Request
from errata_service.engine.sequence import Sequence


class Scheduler:
    """Admits sequences first come, first served, and shares each step among their prompts.

    A sequence waits; is admitted to its version's batch; has its prompt prefilled, in one step or several; is decoded
    by a token in each step; and is removed. The engine's thread alone calls this.

    Attributes:
        waiting: sequences that are not admitted yet, the oldest first.
        prefilling: admitted sequences whose prompt is not complete, the next one first.
        batches: the admitted sequences by version.
    """

    def __init__(self, runner: ModelRunner, settings: Settings) -> None:
        self.waiting: deque[Sequence] = deque()
        self.prefilling: deque[Sequence] = deque()
        self.batches: dict[int, Batch] = {}
        self._runner = runner
        self._max_batch = settings.max_batch
        self._max_cache_bytes = settings.key_values_bytes
        self._max_prefill_tokens = settings.prefill_tokens

    @property
    def num_running(self) -> int:
        """Number of admitted sequences; may be read from any thread."""
        return sum(len(batch.sequences) for batch in list(self.batches.values()))

    def add(self, request: Request) -> None:
        """Let a request's sequences wait behind the others."""
        model, end_ids = self._runner.model, self._runner.end_ids
        self.waiting += [Sequence(model, end_ids, request, index) for index in range(len(request.inputs))]

    def admit(self) -> None:
        """Move waiting sequences into their versions' batches while there is room.

        The first that has no room stops the others, or a long prompt would wait for ever behind short ones.
        """
        while self.waiting and self.num_running < self._max_batch:
            sequence = self.waiting[0]
            version, weights = sequence.request.version, sequence.request.weights
            assert weights is not None
            batch = self.batches.get(version) or Batch(self._runner, weights)
            if not self._make_room(batch, sequence):
                return
            self.waiting.popleft()
            sequence.request.num_waiting -= 1
            self.batches[version] = batch
            batch.add(sequence)
            if sequence.request.error is None:
                self.prefilling.append(sequence)

    def _make_room(self, batch: Batch, sequence: Sequence) -> bool:
        """Return True if the KV caches have room for one more sequence; there is always room for a single one."""
        others = [other for other in self.batches.values() if other is not batch]
        if sum(other.num_bytes for other in others) + batch.num_bytes_with(sequence) > self._max_cache_bytes:
            needed = sum(other.num_bytes_needed() for other in others) + batch.num_bytes_needed(sequence)
            if needed > self._max_cache_bytes and self.batches:
                return False
            for allocated in self.batches.values():
                allocated.shrink()
        return True

    def next_prefill(self) -> tuple[Batch, dict[Sequence, int]] | None:
        """Choose the prompt tokens to compute next: a batch, and how many of which of its sequences.

        Take the first sequence in line, and with it others of its version as long as all of them, padded to the
        longest, stay within the bound. A sequence that is not complete then goes to the end of the line, so that a
        long prompt does not hold up short ones.
        """
        if not self.prefilling:
            return None
        version, bound = self.prefilling[0].request.version, self._max_prefill_tokens
        chunks: dict[Sequence, int] = {}
        width = 0
        for sequence in self.prefilling:
            chunk = min(sequence.num_to_prefill, bound)
            fits = not chunks or (len(chunks) + 1) * max(width, chunk) <= bound
            if fits and sequence.request.version == version:
                chunks[sequence] = chunk
                width = max(width, chunk)
        incomplete = [sequence for sequence, chunk in chunks.items() if chunk < sequence.num_to_prefill]
        self.prefilling = deque([*(sequence for sequence in self.prefilling if sequence not in chunks), *incomplete])
        return self.batches[version], chunks

    def remove_finished(self) -> list[Sequence]:
        """Remove the sequences that have finished, and return them."""
        finished = []
        for batch in self.batches.values():
            for sequence in [sequence for sequence in batch.sequences if sequence.finish_reason]:
                batch.remove(sequence)
                finished.append(sequence)
        self._drop_empty_batches()
        return finished

    def remove(self, request: Request) -> None:
        """Remove all sequences of a request."""
        self.waiting = deque(sequence for sequence in self.waiting if sequence.request is not request)
        self.prefilling = deque(sequence for sequence in self.prefilling if sequence.request is not request)
        for batch in self.batches.values():
            for sequence in [sequence for sequence in batch.sequences if sequence.request is request]:
                batch.remove(sequence)
        self._drop_empty_batches()

    def clear(self) -> None:
        """Forget every sequence."""
        self.waiting.clear()
        self.prefilling.clear()
        self.batches = {}

    def _drop_empty_batches(self) -> None:
        self.batches = {version: batch for version, batch in self.batches.items() if batch.sequences}
