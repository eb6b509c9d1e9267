"""Which versions keep their weights. The facts of all of them stay, so that weights can be built again.

Never dropped are those of the version that serves, of those that rollbacks would go to (as many as are kept otherwise,
one at least), of those with a name, and of one whose edit has not ended.
"""

from errata_client.records import Dropped

from errata_registry.registry import Registry


def drop_weights(registry: Registry, keep_last: int, *, dry_run: bool = False) -> tuple[Dropped, ...]:
    """Drop the weights of all versions but the newest `keep_last` and those that are never dropped.

    Return what was dropped, or with `dry_run` would be, ascending.
    """
    with registry.activations.deciding() as active:
        numbers = registry.artifacts.numbers()
        kept = {active, *registry.activations.before_active()[-max(1, keep_last) :], *registry.aliases.all().values()}
        kept.update(numbers[-keep_last:] if keep_last else ())
        kept.update(
            published.id
            for published in map(registry.artifacts.of_edit, registry.edits.folder.unfinished())
            if published
        )
        sizes = {number: registry.artifacts.delta_bytes(number) for number in numbers if number not in kept}
        dropped = tuple(Dropped(version=number, bytes=size) for number, size in sizes.items() if size)
        if not dry_run:
            for version in dropped:
                registry.artifacts.drop(version.version)
    return dropped
