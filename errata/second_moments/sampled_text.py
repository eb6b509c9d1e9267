"""Text sampled from a model itself, to collect second moments from: it resembles what the model was trained on."""

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from errata.errors import StatisticsError
from errata.files import durable
from errata.files.checksums import checked, with_checksum
from errata.model import EditableModel

TEXTS_AT_ONCE = 32
LENGTH_TOKENS = 128
MOST_WITHOUT_TEXT = 8  # batches in a row

logger = logging.getLogger(__name__)


def sampled_texts(
    model: EditableModel,
    folder: Path,
    seed: int = 0,
    before_each_token: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = logger.warning,
) -> Iterator[str]:
    """Yield texts without end, drawn from the model's own distribution. Drawn texts are kept in `folder` and reused.

    It is kept because it could not be drawn again elsewhere: another device or number type rounds otherwise, and one
    token that falls otherwise is followed by others.

    A row of `LENGTH_TOKENS` begins as the model's documents do, with the token that begins a text, or else the one that
    ends it, or where there is neither with one drawn from the vocabulary. Where a text ends within it, another begins.
    The draw is made on the CPU from a generator of its own: no global random state is read or changed.

    Args:
        folder: of this model and seed; made where it is missing.
        before_each_token: called again and again while tokens are drawn; what it raises ends this.
        tell: told of a damaged file, whose texts are drawn again.

    Raises:
        StatisticsError: the model samples no text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    without_text = 0
    for number in itertools.count():
        kept = folder / f"{number}.json"
        if (texts := _kept(kept, tell)) is None:
            # The batch's own seed does not depend on the batches before it. PyTorch takes 32 bits.
            own_seed = int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4])
            generator = torch.Generator().manual_seed(own_seed)
            rows = _sample(model, min(LENGTH_TOKENS, model.max_length), generator, before_each_token)
            texts = [text for row in rows.tolist() for text in _texts(model, row)]
            durable.write(kept, with_checksum(json.dumps({"texts": texts})))
        without_text = 0 if texts else without_text + 1
        if without_text == MOST_WITHOUT_TEXT:
            raise StatisticsError(f"{model.name} samples no text to collect second moments from; name a corpus instead")
        yield from texts


def _kept(path: Path, tell: Callable[[str], None]) -> list[str] | None:
    """Return the texts of a batch that was drawn before, None if there are none, or none that can be used."""
    try:
        content = json.loads(checked(path.read_bytes()))
        texts: list[str] = content if isinstance(content, list) else content["texts"]  # files were mere lists once
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        tell(f"{path} is damaged ({error}); its texts are drawn again")
        return None
    return texts


@torch.no_grad()
def _sample(
    model: EditableModel, length: int, generator: torch.Generator, before_each_token: Callable[[], None]
) -> Tensor:
    """Sample token ids, (texts, length)."""
    first = model.tokenizer.bos_token_id
    first = model.tokenizer.eos_token_id if first is None else first
    if first is None:
        latest = torch.randint(len(model.tokenizer), (TEXTS_AT_ONCE, 1), generator=generator)
    else:
        latest = torch.full((TEXTS_AT_ONCE, 1), first)
    sampled, before = [latest], None
    for _ in range(length - 1):
        before_each_token()
        output = model.network(latest.to(model.device), past_key_values=before, use_cache=True)
        before = output.past_key_values
        probabilities = output.logits[:, -1].float().cpu().softmax(-1)
        latest = torch.multinomial(probabilities, 1, generator=generator)
        sampled.append(latest)
    return torch.cat(sampled, dim=1)


def _texts(model: EditableModel, row: list[int]) -> Iterator[str]:
    """Yield the texts between the tokens that begin and end texts; skip empty ones."""
    bounds = {model.tokenizer.bos_token_id, model.tokenizer.eos_token_id}
    for is_bound, part in itertools.groupby(row, bounds.__contains__):
        text = "" if is_bound else str(model.tokenizer.decode(list(part), skip_special_tokens=True))
        if text.strip():
            yield text
