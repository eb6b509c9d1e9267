"""`base.json`: the base model that a home folder belongs to from its first start on, and the form of the folder.

Form 1 is what was written before forms were numbered. In form 2, jobs' requests say themselves what their records show
of them, and idempotency keys have files. What is in form 1 is read as it is; a process that writes brings the folder to
form 2 when it starts.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from errata.errors import CorruptArtifact, NewerHome, UnknownVersion, WrongBaseModel
from errata.files import durable
from errata_registry.commits import FOLDER, Commits
from errata_registry.stored import StoredRecord, now, read_record, text_of

BASE = "base.json"
FORM = 2
MatrixShapes = tuple[tuple[int, int], ...]
"""The shape of the matrix of each block that an edit may change, (d_model, d_in)."""
MatrixValues = tuple[tuple[int, int, int, float], ...]
"""Some values of these matrices: (layer, row, column, value)."""


def keep_private(home: Path) -> None:
    """Make a home folder that its owner alone can read, and let this process write everything so from now on."""
    os.umask(0o077)
    home.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # it is somebody else's, as a volume may be, or cannot be written to now
        home.chmod(0o700)


class BoundBase(StoredRecord):
    """The base model, and an id of the home folder itself. `format` is the form of the whole folder.

    Attributes:
        matrices, values: None where the folder was bound by an older program, until the next service or worker starts
            on it.
    """

    name: str
    digest: str
    home: str
    bound_at: datetime
    matrices: MatrixShapes | None = None
    values: MatrixValues | None = None

    @classmethod
    def of(cls, home: Path) -> BoundBase:
        """Return the base model of a home folder.

        Raises `UnknownVersion` while there is none, `NewerHome` for a form that this program does not know, and
        `CorruptArtifact`.
        """
        try:
            bound = read_record(home / BASE, cls)
        except FileNotFoundError:
            unbound = f"{home} does not belong to a base model yet; a service or worker binds it"
            raise UnknownVersion(unbound) from None
        except OSError as error:
            raise CorruptArtifact(f"{home / BASE} cannot be read: {error}") from error
        if bound.format > FORM:
            raise NewerHome(
                f"{home} has form {bound.format}, and this program knows forms up to {FORM}: a newer Errata wrote it, "
                "and only such a one can open it"
            )
        return bound

    def matrix_shapes(self) -> MatrixShapes:
        """Return `matrices`, or what the base model's config says of them. Raises `ModelError` if it cannot be read."""
        from errata.model import matrix_shapes_of  # torch is needed for nothing else here

        return matrix_shapes_of(self.name) if self.matrices is None else self.matrices


def require_writable(home: Path) -> None:
    """Raise `OSError` where the disk of a home folder takes nothing."""
    scratch = durable.scratch_beside(home / "tmp" / "writable")
    try:
        scratch.write_bytes(bytes(4096))
    finally:
        scratch.unlink(missing_ok=True)


def is_bound(home: Path) -> bool:
    """Return True if the home folder belongs to a base model yet."""
    return (home / BASE).exists()


def bind(
    home: Path, name: str, digest: str, matrices: MatrixShapes, values: MatrixValues, commits: Commits = FOLDER
) -> BoundBase:
    """Tie a home folder to its base model at the first start; return what it is tied to.

    A folder that lacks `matrices` or `values` has them from now on.

    Raises `WrongBaseModel` where it belongs to a model with another digest, and as `BoundBase.of`.
    """
    identity = secrets.token_hex(8)
    new = BoundBase(
        format=FORM, name=name, digest=digest, home=identity, bound_at=now(), matrices=matrices, values=values
    )
    if not is_bound(home) and commits.write_once(home / BASE, text_of(new, indent=1)):
        return new
    bound = BoundBase.of(home)
    if bound.digest != digest:
        raise WrongBaseModel(
            f"{home} holds edits of {bound.name} ({bound.digest[:12]}), and {name} ({digest[:12]}) has "
            "other weights: give it a home folder of its own (--home or ERRATA_HOME)"
        )
    if bound.matrices is None or bound.values is None:
        bound = bound.model_copy(update={"matrices": matrices, "values": values})
        with suppress(OSError):  # a folder that cannot be written to now is served all the same
            commits.write(home / BASE, text_of(bound, indent=1))
    return bound


def note_form(home: Path, bound: BoundBase) -> None:
    """Note that a home folder was brought to the present form."""
    durable.write(home / BASE, text_of(bound.model_copy(update={"format": FORM}), indent=1))
