"""Edits that can be waited for."""

import math
import time
from types import TracebackType
from typing import Self, TypeVar

from pydantic import PrivateAttr

from errata_client import routes
from errata_client.errors import WaitTimedOut, edit_error
from errata_client.models import EditRecord
from errata_client.progress import ProgressBar
from errata_client.transport import AsyncTransport, Transport

E = TypeVar("E", bound=EditRecord)

# The service holds an answer back until the edit ends, or this long: short where a bar has to move.
HOLD_WITH_PROGRESS_S = 1
HOLD_S = 30


class Edit(EditRecord):
    """An edit as it stood when it was asked for; `wait` follows it to its end."""

    _transport: Transport = PrivateAttr()

    @classmethod
    def bound(cls, record: EditRecord, transport: Transport) -> Self:
        """The record, with the transport to ask for its later states."""
        edit = cls.model_validate(dict(record))
        edit._transport = transport
        return edit

    def wait(self, *, progress: bool = True, timeout: float | None = None) -> Self:
        """Wait until the edit ends, and return its final state.

        `progress` shows a bar on stderr. After `timeout` seconds (looked at once a second at most) raises
        `WaitTimedOut`; the edit goes on. Raises `EditFailed`, `EditRejected` or `EditCancelled` where it did
        not succeed.
        """
        with Vigil(progress, timeout) as vigil:
            edit = self
            while not edit.ended:
                record = self._transport.send(routes.get_edit(self.id, wait_s=vigil.hold_s(edit)))
                edit = self.bound(record, self._transport)
            return vigil.outcome(edit)


class AsyncEdit(EditRecord):
    """The same for asyncio."""

    _transport: AsyncTransport = PrivateAttr()

    @classmethod
    def bound(cls, record: EditRecord, transport: AsyncTransport) -> Self:
        edit = cls.model_validate(dict(record))
        edit._transport = transport
        return edit

    async def wait(self, *, progress: bool = True, timeout: float | None = None) -> Self:
        """As `Edit.wait`."""
        with Vigil(progress, timeout) as vigil:
            edit = self
            while not edit.ended:
                record = await self._transport.send(routes.get_edit(self.id, wait_s=vigil.hold_s(edit)))
                edit = self.bound(record, self._transport)
            return vigil.outcome(edit)


class Vigil:
    """One wait for an edit: what is shown, how long it lasts and how it ends."""

    def __init__(self, progress: bool, timeout: float | None) -> None:
        self._bar = ProgressBar() if progress else None
        self._timeout = timeout
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.close()

    def hold_s(self, edit: EditRecord) -> int:
        """Show the edit; whole seconds to wait for its next state. Raises `WaitTimedOut`."""
        if self._bar:
            self._bar.show(edit)
        longest = HOLD_WITH_PROGRESS_S if self._bar else HOLD_S
        if self._timeout is None:
            return longest
        left = self._timeout - (time.monotonic() - self._began)
        if left <= 0:
            raise WaitTimedOut(edit, self._timeout)
        return min(longest, math.ceil(left))

    def outcome(self, edit: E) -> E:
        """Show the edit that ended and return it. Raises `EditError` where it did not succeed."""
        if self._bar:
            self._bar.show(edit)
        error = edit_error(edit)
        if error:
            raise error
        return edit
