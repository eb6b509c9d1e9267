"""The context prefixes that were sampled from a base model, kept so that all workers and all edits use the same."""

import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from errata.errors import CorruptArtifact
from errata_registry.commits import FOLDER, Commits
from errata_registry.stored import StoredRecord, read_record, text_of

logger = logging.getLogger(__name__)


class _Sampled(StoredRecord):
    contexts: tuple[str, ...] = Field(min_length=1)


class ContextFiles:
    """A folder of prefixes: `<digest of the base model>/<seed>.json`."""

    def __init__(self, folder: Path, commits: Commits = FOLDER) -> None:
        self._commits = commits
        self._folder = folder

    def load(self, digest: str, seed: int, tell: Callable[[str], None] = logger.warning) -> tuple[str, ...] | None:
        """Return the prefixes that were sampled with a seed, None where there are none that can be used.

        `tell` is told of a damaged file, which is removed.
        """
        path = self._file(digest, seed)
        try:
            return read_record(path, _Sampled).contexts
        except FileNotFoundError:
            return None
        except (CorruptArtifact, OSError):
            tell(f"{path} is damaged; its context prefixes are sampled again")
            path.unlink(missing_ok=True)
            return None

    def keep(self, digest: str, seed: int, contexts: tuple[str, ...]) -> tuple[str, ...]:
        """Keep prefixes that were just sampled; return those that count, the ones that were kept first."""
        path = self._file(digest, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._commits.write_once(path, text_of(_Sampled(contexts=contexts), indent=1))
        return self.load(digest, seed) or contexts

    def _file(self, digest: str, seed: int) -> Path:
        return self._folder / digest / f"{seed}.json"
