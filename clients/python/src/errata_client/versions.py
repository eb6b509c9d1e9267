"""Operations on versions: looking at them, serving, naming, comparing, dropping and exporting them."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Self

from errata_client.operations import iteration, operation
from errata_client.options import ExportFormat, VersionName, given
from errata_client.records import (
    Activation,
    Alias,
    ChangeKind,
    FactChange,
    Page,
    PastActivation,
    Pruned,
    Record,
    Version,
)
from errata_client.requests import Request, lists, page_after, quoted, version_path
from errata_client.transport import Transport

# A comparison is always read to its end, and made anew for each part of it.
DIFF_PAGE_SIZE = 1000
# An activation is answered once every replica has followed, or has been waited for this long.
ACTIVATION_HOLD_S = 60.0


class Diff(Record):
    """How the facts of version `after` differ from those of version `before`."""

    before: int
    after: int
    added: tuple[FactChange, ...]
    changed: tuple[FactChange, ...]
    retracted: tuple[FactChange, ...]

    @classmethod
    def of(cls, before: int, after: int, changes: Iterable[FactChange]) -> Self:
        """Sort all changes by their kind."""
        kinds: dict[ChangeKind, list[FactChange]] = {kind: [] for kind in ChangeKind}
        for change in changes:
            kinds.setdefault(change.change, []).append(change)
        return cls.model_validate({"before": before, "after": after, **kinds})


class _Comparison(Page[FactChange]):
    """One part of a comparison."""

    before: int
    after: int


class VersionOperations:
    """What both clients can do with versions."""

    _transport: Transport

    @iteration
    def versions(self) -> AsyncGenerator[Version, None]:
        """Yield all versions; pages are fetched as they are needed."""
        return self._transport.items(lists("/versions", Version))

    @operation
    async def version(self, version: VersionName) -> Version:
        """Return one version: by its number, a name of it, "base", "active" or "previous", as everywhere below."""
        return await self._transport.send(Request(path=version_path(version), answer=Version))

    @operation
    async def activate(self, version: VersionName, *, note: str | None = None) -> Activation:
        """Serve this version from now on. Raises `Unavailable` where a replica does not follow in time.

        `note`: why, which `activations` tells. "previous" is sent again only while it surely did not arrive, as a bare
        `rollback` is.
        """
        request = Request(
            method="POST",
            path=f"{version_path(version)}/activate",
            answer=Activation,
            body=given({"note": note}) or None,
            repeatable=_stands_still(version),
            hold_s=ACTIVATION_HOLD_S,
        )
        return await self._transport.send(request)

    @operation
    async def rollback(self, to: VersionName | None = None, *, note: str | None = None) -> Activation:
        """Serve the version that was active before, or version `to`.

        `note`: why, which `activations` tells. Without `to`, and to "previous", it is sent again only while it surely
        did not arrive, since each call goes to another version. After a `ConnectionFailed` with `may_have_arrived`,
        look which of `versions` is active.
        """
        request = Request(
            method="POST",
            path="/rollback",
            answer=Activation,
            body=given({"to": to, "note": note}),
            repeatable=_stands_still(to),
            hold_s=ACTIVATION_HOLD_S,
        )
        return await self._transport.send(request)

    @operation
    async def delete_version(self, version: VersionName) -> None:
        """Drop a version's weights. Raises `Conflict` for the active one and for one with a name.

        A try after a lost answer may find the version gone already: `NotFound`.
        """
        await self._transport.send(Request(method="DELETE", path=version_path(version), answer=NoneType))

    @operation
    async def prune(self, keep_last: int, *, dry_run: bool = False) -> Pruned:
        """Drop the weights of all versions but the `keep_last` newest, the active one, the one that `rollback` would go
        to, and those with a name. Their facts stay, and `rebuild` builds their weights again.

        `dry_run`: only tell what would be dropped. A try after a lost answer tells only what was left to drop.
        """
        body = {"keep_last": keep_last, "dry_run": dry_run}
        return await self._transport.send(Request(method="POST", path="/versions/prune", answer=Pruned, body=body))

    @operation
    async def diff(self, before: VersionName, after: VersionName) -> Diff:
        """Return what must be done to the facts of version `before` to get those of `after`, whichever came first."""
        path = f"{version_path(before)}/diff/{quoted(str(after))}"
        request: Request[_Comparison] | None = Request(path=path, answer=_Comparison, query={"limit": DIFF_PAGE_SIZE})
        changes: list[FactChange] = []
        while request:
            page = await self._transport.send(request)
            changes += page.data
            # Numbers from now on: a name may come to stand for another version meanwhile.
            request = page_after(replace(request, path=f"/versions/{page.before}/diff/{page.after}"), page)
        return Diff.of(page.before, page.after, changes)

    @operation
    async def export(self, version: VersionName, to: str | PathLike[str], format: ExportFormat = "delta") -> Path:
        """Write a version to the tar file `to`, and return its path.

        `format`: "delta" (the update as low-rank factors), "lora" (a PEFT adapter) or "merged" (the whole checkpoint).
        It is written piece by piece beside `to` and takes that name once it is whole; what was there is replaced then.
        `timeout` holds for each piece. Raises `ConnectionFailed` where the connection breaks, after new tries only if
        nothing was written yet, and `OSError` where `to` cannot be written.
        """
        request = Request(
            path=f"{version_path(version)}/export",
            answer=NoneType,
            query={"format": format},
            accepts="application/x-tar",
            # Weights do not become smaller when they are packed.
            headers={"Accept-Encoding": "identity"},
        )
        return await self._transport.download(request, to)

    @iteration
    def activations(self) -> AsyncGenerator[PastActivation, None]:
        """Yield which version served when, newest first. The base served before the first of them."""
        return self._transport.items(lists("/activations", PastActivation))

    @operation
    async def aliases(self) -> dict[str, int]:
        """Return the version that each name stands for; `names` tells also which are protected."""
        return {alias.name: alias.version async for alias in self._transport.items(lists("/aliases", Alias))}

    @iteration
    def names(self) -> AsyncGenerator[Alias, None]:
        """Yield all names of versions, each with what protects it (`protection`), where something does."""
        return self._transport.items(lists("/aliases", Alias))

    @operation
    async def name_version(self, name: str, version: VersionName) -> Version:
        """Let a name stand for a version, whatever it stood for before. What has a name is never dropped.

        A name is a letter, then letters, digits, - and _; not "base", "active" or "previous". Raises `Conflict` for
        one that is protected and stands for another version.
        """
        path = f"/aliases/{quoted(name)}"
        return await self._transport.send(Request(method="PUT", path=path, answer=Version, body={"version": version}))

    @operation
    async def take_name(self, name: str) -> None:
        """Take a name away; the version stays. Raises `Conflict` for one that is protected.

        A try after a lost answer may find the name gone already: `NotFound`.
        """
        await self._transport.send(Request(method="DELETE", path=f"/aliases/{quoted(name)}", answer=NoneType))

    @operation
    async def protect_name(self, name: str, *, note: str | None = None) -> Alias:
        """Let a name neither be moved nor taken away, nor its version be deleted, until `unprotect_name`.

        `note`: why. Each try at one of these raises `Conflict`, which says who protected it and why.
        """
        path = f"/aliases/{quoted(name)}/protection"
        return await self._transport.send(Request(method="PUT", path=path, answer=Alias, body=given({"note": note})))

    @operation
    async def unprotect_name(self, name: str) -> Alias:
        """Undo `protect_name`; without effect on a name that is not protected."""
        path = f"/aliases/{quoted(name)}/protection"
        return await self._transport.send(Request(method="DELETE", path=path, answer=Alias))


def _stands_still(version: VersionName | None) -> bool:
    """Return False for what means another version once that version serves."""
    return version is not None and version != "previous"
