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
        found = [number for number in numbers if number not in kept and not registry.artifacts.is_dropped(number)]
        dropped = tuple(Dropped(version=number, bytes=registry.artifacts.delta_bytes(number)) for number in found)
        if not dry_run:
            for number in found:
                registry.artifacts.drop(number)
                registry.put_version(number)
    return dropped
