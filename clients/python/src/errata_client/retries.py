"""Whether a request is tried again, and when."""

import random
from collections.abc import Awaitable, Callable

from errata_client.errors import ConnectionFailed, StatusError

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0
# Not 504: the service has already waited for what did not come, and the caller should know.
_PASSING_STATUSES = frozenset({429, 500, 502, 503})


class Attempts:
    """The tries of one request, of which `max_retries` may follow the first.

    A request that is not repeatable is tried again only while it surely never reached the server.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]], *, repeatable: bool, max_retries: int) -> None:
        self._sleep = sleep
        self._repeatable = repeatable
        self._retries_left = max_retries
        self._longest_pause_s = FIRST_PAUSE_S

    async def pause_after(self, error: ConnectionFailed | StatusError) -> None:
        """Sleep until the next try. Raises `error` where there is to be none."""
        if not self._retries_left or not self._may_follow(error):
            raise error
        self._retries_left -= 1
        if isinstance(error, StatusError) and error.retry_after is not None:
            await self._sleep(error.retry_after)
            return
        # Jitter, so that clients which failed together do not come back together.
        pause = self._longest_pause_s * random.uniform(0.5, 1.0)
        self._longest_pause_s = min(2 * self._longest_pause_s, LONGEST_PAUSE_S)
        await self._sleep(pause)

    def _may_follow(self, error: ConnectionFailed | StatusError) -> bool:
        if isinstance(error, ConnectionFailed):
            return self._repeatable or not error.may_have_arrived
        patient = error.retry_after is None or error.retry_after <= LONGEST_RETRY_AFTER_S
        return self._repeatable and error.status in _PASSING_STATUSES and patient
