"""Which shards a build is over.

Does not look at what is stored of them.
"""

from collections import Counter
from collections.abc import Sequence

from dagster_project.settings.sections import Settings
from toolformer.sources.manifest import Manifest, ShardEntry


def chosen_shards(
    manifest: Manifest, shards: Sequence[str], settings: Settings
) -> list[ShardEntry]:
    """The active shards that were named, or else all, of which `sampling.shards` may leave few.

    These few are the first of every source that are not held out, as many of each as of the others.

    Raises:
        ShardNotFoundError: a shard was named that is not active.
    """
    active, most = manifest.active_shards, settings.sampling.shards
    if shards:
        return [manifest.entry(key) for key in dict.fromkeys(shards)]
    if most is None:
        return active
    taken: Counter[str] = Counter()
    places: dict[str, int] = {}
    for entry in active:
        if not entry.is_held_out:
            places[entry.key] = taken[entry.source]
            taken[entry.source] += 1
    first = set(sorted(places, key=places.__getitem__)[:most])
    return [entry for entry in active if entry.key in first]
