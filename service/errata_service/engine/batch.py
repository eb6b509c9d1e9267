"""A batch: the sequences of one version, which are computed together."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from errata.errors import NotFinite
from errata_service.engine.kv_cache import KVCache, Size
from errata_service.engine.model_runner import ModelRunner
from errata_service.engine.request import StepFailed
from errata_service.engine.sampling import NOT_FINITE, Logprobs, choose, logprobs
from errata_service.engine.sequence import Sequence

# The cache grows in steps of so many tokens, so that it is not allocated anew for each sequence.
LENGTH_STEP = 64

log = logging.getLogger(__name__)


class Batch:
    """Sequences that share a version's weights and a KV cache. If a step fails, so do the requests of all of them.

    Attributes:
        sequences: each at the index of its slot in the cache, in no particular order.
    """

    def __init__(self, runner: ModelRunner, weights: Mapping[int, Tensor]) -> None:
        self.sequences: list[Sequence] = []
        self._runner = runner
        self._model = runner.model
        self._weights = weights
        self._cache = KVCache(runner.token_shape)

    # Memory

    @property
    def num_bytes(self) -> int:
        """Memory of the cache."""
        return self._runner.token_shape.num_bytes(self._cache.size)

    def num_bytes_with(self, sequence: Sequence) -> int:
        """Return the memory of the cache once a sequence is added."""
        return self._runner.token_shape.num_bytes(self._size_with(sequence))

    def num_bytes_needed(self, *more: Sequence) -> int:
        """Return the memory that the sequences need, and some more of them."""
        return self._runner.token_shape.num_bytes(_size_for([*self.sequences, *more]))

    def shrink(self) -> None:
        """Give back memory that the sequences do not need."""
        self._cache.resize(_size_for(self.sequences))

    def add(self, sequence: Sequence) -> None:
        """Give a sequence a slot. Its prompt is to be prefilled."""
        with _failing_together([*self.sequences, sequence]):
            size = self._size_with(sequence)
            if size != self._cache.size:
                self._cache.resize(size)
            self.sequences.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Free a sequence's slot; the last sequence moves there."""
        slot, last = self.sequences.index(sequence), len(self.sequences) - 1
        if slot != last:
            self._cache.move(last, to=slot)
            self.sequences[slot] = self.sequences[last]
        self._cache.clear(last)
        self.sequences.pop()

    def _size_with(self, sequence: Sequence) -> Size:
        num_slots, length = _size_for([*self.sequences, sequence])
        return max(num_slots, self._cache.size[0]), max(length, self._cache.size[1])

    # Computing

    def decode(self) -> list[Sequence]:
        """Append a token to each sequence whose prompt is prefilled; return these sequences."""
        slots = [slot for slot, sequence in enumerate(self.sequences) if not sequence.num_to_prefill]
        decoded = [self.sequences[slot] for slot in slots]
        if not decoded:
            return []
        with _failing_together(self.sequences):
            # Also run the slots in between that are still prefilling, since adjacent slots need no copy.
            running = self.sequences[: slots[-1] + 1]
            token_ids = [None if sequence.num_to_prefill else sequence.token_ids[-1] for sequence in running]
            num_cached = [sequence.num_cached for sequence in running]
            hidden = self._runner.decode(self._weights, self._cache, token_ids, num_cached)
            for sequence in decoded:
                sequence.num_cached += 1
            self._append_tokens(decoded, hidden if len(decoded) == len(running) else hidden[slots])
            return decoded
        return []

    def prefill(self, chunks: Mapping[Sequence, int]) -> list[Sequence]:
        """Compute the given numbers of prompt tokens of some sequences.

        Append the first token to each sequence whose prompt is then complete; return these sequences.
        """
        with _failing_together(self.sequences):
            slots = [slot for slot, sequence in enumerate(self.sequences) if sequence in chunks]
            sequences = [self.sequences[slot] for slot in slots]
            new_ids = [seq.token_ids[seq.num_cached : seq.num_cached + chunks[seq]] for seq in sequences]
            num_cached = [sequence.num_cached for sequence in sequences]
            hidden = self._runner.run(self._weights, self._cache, slots, new_ids, num_cached)
            for row, sequence in enumerate(sequences):
                self._note_prefilled(sequence, hidden[row, : chunks[sequence]])
            rows = [row for row, seq in enumerate(sequences) if not seq.num_to_prefill and not seq.has_ended]
            started = [sequences[row] for row in rows]
            if started:
                self._append_tokens(started, hidden[rows, [chunks[sequence] - 1 for sequence in started]])
            return started
        return []

    def _note_prefilled(self, sequence: Sequence, hidden: Tensor) -> None:
        """Take in the final hidden states of prompt tokens, (S, d_model)."""
        if sequence.input.prompt_logprobs and not bool(hidden.isfinite().all()):
            sequence.request.error = _not_finite(sequence)
            return
        with _failing_alone(sequence):
            sequence.note_prefilled(len(hidden), self._prompt_logprobs(sequence, hidden))

    def _prompt_logprobs(self, sequence: Sequence, hidden: Tensor) -> list[Logprobs]:
        """Return those of the prompt tokens after the ones with these hidden states; none if not requested."""
        first = sequence.num_cached + 1
        next_ids = sequence.input.prompt_ids[first : first + len(hidden)]
        if not sequence.input.prompt_logprobs or not next_ids:
            return []
        return logprobs(self._model.logits(hidden[: len(next_ids)]), next_ids, sequence.input.num_logprobs or 0)

    def _append_tokens(self, sequences: list[Sequence], hidden: Tensor) -> None:
        """Choose the next token of each sequence from its final hidden state, (sequences, d_model), and append it."""
        logits = self._model.logits(hidden)
        token_ids = choose(logits, [sequence.sampler for sequence in sequences])
        found: dict[int, Logprobs] = {}
        rows = [row for row, sequence in enumerate(sequences) if sequence.input.num_logprobs is not None]
        if rows:
            count = max(sequences[row].input.num_logprobs or 0 for row in rows)
            given = logprobs(logits[rows], [max(token_ids[row], 0) for row in rows], count)
            for row, (logprob, likeliest) in zip(rows, given, strict=True):
                found[row] = (logprob, likeliest[: sequences[row].input.num_logprobs])
        for row, (sequence, token_id) in enumerate(zip(sequences, token_ids, strict=True)):
            if token_id == NOT_FINITE:
                sequence.request.error = _not_finite(sequence)
            else:
                with _failing_alone(sequence):
                    sequence.append(token_id, found.get(row))


@contextmanager
def _failing_together(sequences: Iterable[Sequence]) -> Iterator[None]:
    """Turn an exception into a failure of these sequences' requests, so that other batches go on."""
    try:
        yield
    except Exception as error:
        log.exception("computing a batch failed")
        for sequence in sequences:
            sequence.request.error = StepFailed(error)


@contextmanager
def _failing_alone(sequence: Sequence) -> Iterator[None]:
    """Turn an exception into a failure of this sequence's request, so that the rest of the batch goes on."""
    try:
        yield
    except Exception as error:
        log.exception("a sequence failed")
        sequence.request.error = error


def _not_finite(sequence: Sequence) -> NotFinite:
    return NotFinite(f"version {sequence.request.version} does not give finite numbers for this prompt")


def _size_for(sequences: list[Sequence]) -> Size:
    """Return the cache size that has room for these sequences: a power of two slots, in steps of tokens."""
    longest = max((sequence.max_length for sequence in sequences), default=0)
    num_slots = 1 << (len(sequences) - 1).bit_length() if sequences else 0
    return num_slots, -(-longest // LENGTH_STEP) * LENGTH_STEP
