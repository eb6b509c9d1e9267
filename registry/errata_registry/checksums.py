"""Which files of a home folder have a checksum, and which of them that `verification` does not read are damaged."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from errata.files.checksums import checked, has_checksum
from errata.files.tensors import checksum_fits

READ_ELSEWHERE = (
    *("base.json", "aliases.json", "versions/*/manifest.json"),
    *(f"{kind}/*/{name}.json" for kind in ("edits", "evaluations", "traces") for name in ("request", "outcome")),
)
RECORDS = (
    *("probes.json", "versions/*/dropped.json", "versions/*/deleted.json"),
    *("idempotency/*.json", "edits/*/shards/*.json"),
)
RECORDS_MADE_AGAIN = ("activations.checksum.json", "contexts/*/*.json")
TENSORS_MADE_AGAIN = ("second_moments/*/layer_*.safetensors", "second_moments/*/collecting-*.safetensors")
TARGETS = ("targets/*/*.safetensors",)
NETWORKS = ("second_moments/*/mend.safetensors",)

FROM_A_COPY = "put it back from a copy"
MADE_AGAIN = "it is made again when it is next needed"
TRAINED_AGAIN = f"{FROM_A_COPY}, or train it again (`errata train-mend`)"


@dataclass(frozen=True, slots=True)
class FileChecks:
    """A line for each damaged file, and how many files have no checksum.

    A damaged target is told of and no fault: it is one entry of a cache, as good as one that was removed, and gives way
    when an edit asks for it, if ever one does.
    """

    faults: tuple[str, ...]
    damaged_targets: tuple[str, ...]
    without: int


def check_files(home: Path) -> FileChecks:
    """Read the files of a home folder through. Processes may be at work there meanwhile."""
    faults: list[str] = []
    targets: list[str] = []
    without = sum(_fits(_record_fits, path) is None for path in _files(home, READ_ELSEWHERE))
    for patterns, fits, remedy in (
        (RECORDS, _record_fits, FROM_A_COPY),
        (RECORDS_MADE_AGAIN, _record_fits, MADE_AGAIN),
        (TENSORS_MADE_AGAIN, checksum_fits, MADE_AGAIN),
        (TARGETS, checksum_fits, MADE_AGAIN),
        (NETWORKS, checksum_fits, TRAINED_AGAIN),
    ):
        for path in _files(home, patterns):
            whole = _fits(fits, path)
            without += whole is None
            if whole is False:
                (targets if patterns is TARGETS else faults).append(f"{path.relative_to(home)} is damaged; {remedy}")
    journal = home / "activations.jsonl"
    without += journal.exists() and not journal.with_name("activations.checksum.json").exists()
    return FileChecks(tuple(faults), tuple(targets), without)


def _files(home: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(home.glob(pattern)) if not path.name.startswith("."))


def _fits(checksum_fits: Callable[[Path], bool | None], path: Path) -> bool | None:
    try:
        return checksum_fits(path)
    except FileNotFoundError:  # it is gone meanwhile
        return True
    except OSError:  # the disk does not give it
        return False


def _record_fits(path: Path) -> bool | None:
    """Return True if the file of a record is as it was written, and False if it is damaged; None without a checksum."""
    content = path.read_bytes()
    try:
        json.loads(checked(content))
    except ValueError:
        return False
    return True if has_checksum(content) else None
