"""What a disk answers when it takes nothing: it is full, a quota or limit is used up, it is read-only, or it
fails."""

import errno
import os
import re

from safetensors import SafetensorError

_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_NUMBER_IN_WORDS = re.compile(r"\(os error (\d+)\)")  # safetensors has it in its message alone


class Refused(OSError):
    """What decides in a disk's place took nothing; the second argument says why."""


def refusal_of(error: BaseException) -> str | None:
    """Return why a disk took nothing, such as "No space left on device"; None if `error` is about something else."""
    if isinstance(error, Refused):
        return error.strerror
    number = None
    if isinstance(error, OSError):
        number = error.errno
    elif isinstance(error, SafetensorError) and (found := _NUMBER_IN_WORDS.search(str(error))):
        number = int(found[1])
    return os.strerror(number) if number in _REFUSALS else None
