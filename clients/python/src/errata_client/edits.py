"""Edits that can be waited for."""

from typing import Self

from pydantic import PrivateAttr

from errata_client import routes
from errata_client.errors import edit_error
from errata_client.models import EditRecord
from errata_client.transport import AsyncTransport, Transport
from errata_client.vigil import Vigil


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
            return vigil.outcome(edit, edit_error(edit))


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
            return vigil.outcome(edit, edit_error(edit))
