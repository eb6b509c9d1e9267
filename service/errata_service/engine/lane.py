"""A lane: the rows of one version, which are computed together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from errata.errors import NotFinite
from errata.model import EditableModel
from errata_service.engine.key_values import KeyValues, Shape
from errata_service.engine.row import Likelihood, Row
from errata_service.engine.sampling import NOT_FINITE, choose, logprobs

# Room is made in steps, so that it is not laid anew for each row and each token more.
LENGTH_STEP = 64

log = logging.getLogger(__name__)


class Lane:
    """Rows that share a version's weights. They stand side by side in the key-value memory, in no order.

    Attributes:
        rows: each at its place in the memory.
    """

    def __init__(self, model: EditableModel, shape: Shape, weights: Mapping[int, Tensor]) -> None:
        self.rows: list[Row] = []
        self._model = model
        self._shape = shape
        self._weights = weights
        self._key_values = KeyValues(model, shape)

    # Memory

    @property
    def num_bytes(self) -> int:
        """Memory that the room takes."""
        return self._key_values.num_rows * self._key_values.length * self._shape.bytes_per_token

    def num_bytes_with(self, row: Row) -> int:
        """Memory that the room takes once a row is in it."""
        num_rows, length = self._enlarged_for(row)
        return num_rows * length * self._shape.bytes_per_token

    def num_bytes_needed(self, row: Row | None = None) -> int:
        """Memory that would do for the rows, and one more."""
        num_rows, length = _room_for([*self.rows, row] if row else self.rows)
        return num_rows * length * self._shape.bytes_per_token

    def shrink(self) -> None:
        """Give back room that the rows do not need."""
        self._key_values.resize(*_room_for(self.rows))

    def add(self, row: Row) -> bool:
        """Take a row in, whose prompt is to be read. True, since it may fail for lack of memory."""
        room = self._enlarged_for(row)
        if room != (self._key_values.num_rows, self._key_values.length):
            self._key_values.resize(*room)
        self.rows.append(row)
        return True

    def _enlarged_for(self, row: Row) -> tuple[int, int]:
        num_rows, length = _room_for([*self.rows, row])
        return max(num_rows, self._key_values.num_rows), max(length, self._key_values.length)

    def remove(self, row: Row) -> None:
        """Let a row go; the last one takes its place."""
        place, last = self.rows.index(row), len(self.rows) - 1
        if place != last:
            self._key_values.move(last, to=place)
            self.rows[place] = self.rows[last]
        self._key_values.clear(last)
        self.rows.pop()

    # Computing

    def decode(self) -> list[Row]:
        """Let each row whose prompt is read go on by a token; gives these rows."""
        going = [place for place, row in enumerate(self.rows) if not row.num_unread]
        if not going:
            return []
        # From the first place on, with those between that are not read yet: nothing has to be copied so.
        rows = self.rows[: going[-1] + 1]
        new: list[list[int]] = [[] if row.num_unread else [row.token_ids[-1]] for row in rows]
        hidden = self._run(range(len(rows)), new)[:, 0]
        going_rows = [rows[place] for place in going]
        for row in going_rows:
            row.num_held += 1
        self._advance(going_rows, hidden if len(going) == len(rows) else hidden[going])
        return going_rows

    def read(self, parts: Mapping[Row, int]) -> list[Row]:
        """Read so many more tokens of some rows' prompts, and choose the first token of those that are read to their
        end; gives these rows."""
        places = [place for place, row in enumerate(self.rows) if row in parts]
        rows = [self.rows[place] for place in places]
        new = [row.token_ids[row.num_held : row.num_held + parts[row]] for row in rows]
        hidden = self._run(places, new)
        for place, row in enumerate(rows):
            own = hidden[place, : parts[row]]
            if row.task.prompt_logprobs and not bool(own.isfinite().all()):
                row.submission.error = _not_finite(row)
            else:
                with _failing_alone(row):
                    row.read(parts[row], self._prompt_likelihoods(row, own))
        begun = [place for place, row in enumerate(rows) if not row.num_unread and not row.has_ended]
        if begun:
            last = [parts[rows[place]] - 1 for place in begun]
            self._advance([rows[place] for place in begun], hidden[begun, last])
        return [rows[place] for place in begun]

    def _run(self, places: Sequence[int], new: Sequence[Sequence[int]]) -> Tensor:
        held = [self.rows[place].num_held for place in places]
        with self._model.using(self._weights):
            return self._key_values.run(places, new, held)

    def _prompt_likelihoods(self, row: Row, hidden: Tensor) -> list[Likelihood]:
        """Of the tokens that follow those which were run, as far as the prompt goes; none where nobody asks."""
        first = row.num_held + 1
        following = row.task.prompt_ids[first : first + len(hidden)]
        if not row.task.prompt_logprobs or not following:
            return []
        return logprobs(self._model.logits(hidden[: len(following)]), following, row.task.num_logprobs or 0)

    def _advance(self, rows: Sequence[Row], hidden: Tensor) -> None:
        """Choose the next token of each row from its final hidden state, (rows, d_model)."""
        logits = self._model.logits(hidden)
        token_ids = choose(logits, [row.sampler for row in rows])
        likelihoods: dict[int, Likelihood] = {}
        asked = [place for place, row in enumerate(rows) if row.task.num_logprobs is not None]
        if asked:
            count = max(rows[place].task.num_logprobs or 0 for place in asked)
            given = logprobs(logits[asked], [max(token_ids[place], 0) for place in asked], count)
            for place, (logprob, likeliest) in zip(asked, given, strict=True):
                likelihoods[place] = (logprob, likeliest[: rows[place].task.num_logprobs])
        for place, (row, token_id) in enumerate(zip(rows, token_ids, strict=True)):
            if token_id == NOT_FINITE:
                row.submission.error = _not_finite(row)
            else:
                with _failing_alone(row):
                    row.take(token_id, likelihoods.get(place))


@contextmanager
def _failing_alone(row: Row) -> Iterator[None]:
    """What is done for one row harms no other one."""
    try:
        yield
    except Exception as error:
        log.exception("a row failed")
        row.submission.error = error


def _not_finite(row: Row) -> NotFinite:
    return NotFinite(f"version {row.submission.version} does not give finite numbers for this prompt")


def _room_for(rows: Sequence[Row]) -> tuple[int, int]:
    """How many rows, and how many tokens in each, make room for these."""
    longest = max((row.longest for row in rows), default=0)
    return 1 << (len(rows) - 1).bit_length() if rows else 0, -(-longest // LENGTH_STEP) * LENGTH_STEP
