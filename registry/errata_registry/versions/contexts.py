"""The context prefixes that were sampled from a base model, kept so that all workers and all edits use the same."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from errata.files import durable

logger = logging.getLogger(__name__)


class _Sampled(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    contexts: tuple[str, ...] = Field(min_length=1)


class ContextFiles:
    """A folder of prefixes: `<digest of the base model>/<seed>.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, digest: str, seed: int) -> tuple[str, ...] | None:
        """The prefixes that were sampled with a seed; None where there are none that can be used."""
        path = self._file(digest, seed)
        try:
            return _Sampled.model_validate_json(path.read_text(encoding="utf-8")).contexts
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("context prefixes are sampled again, since %s cannot be read: %s", path, error)
            path.unlink(missing_ok=True)
            return None

    def keep(self, digest: str, seed: int, contexts: tuple[str, ...]) -> tuple[str, ...]:
        """Keep prefixes that were just sampled. Those that count are returned: the ones that were kept first."""
        path = self._file(digest, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_once(path, _Sampled(contexts=contexts).model_dump_json(indent=1) + "\n")
        return self.load(digest, seed) or contexts

    def _file(self, digest: str, seed: int) -> Path:
        return self._folder / digest / f"{seed}.json"
