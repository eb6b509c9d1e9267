"""Which versions keep their weights. The facts of all of them stay, so that weights can be built again.

Never dropped are those of the version that serves, of the one that a rollback would go to, and of those with a name.
"""

from __future__ import annotations

from errata.registry.records import Dropped
from errata.registry.registry import Registry


def drop_weights(registry: Registry, keep_last: int, *, dry_run: bool = False) -> tuple[Dropped, ...]:
    """Drop the weights of all versions but the newest `keep_last` and those that are never dropped.

    Gives what was dropped, or with `dry_run` would be, ascending.
    """
    with registry.deciding() as active:
        numbers = registry.artifacts.numbers()
        kept = {active, *registry.before_active()[-1:], *registry.aliases.all().values()}
        kept.update(numbers[len(numbers) - keep_last :] if keep_last else ())
        folders = {number: registry.artifacts.folder(number) for number in numbers if number not in kept}
        dropped = tuple(
            Dropped(version=number, bytes=folder.delta_bytes)
            for number, folder in folders.items()
            if not folder.is_dropped
        )
        if not dry_run:
            for version in dropped:
                registry.artifacts.drop(version.version)
                registry.put_version(version.version)
    return dropped
