"""Which shards a build is over.

Does not look at what is stored of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dagster_project.settings.sections import Settings
from toolformer.sources.manifest import Manifest, ShardEntry


@dataclass(frozen=True, slots=True)
class ChosenShards:
    """The shards of a build.

    Attributes:
        annotated: all stages run for these.
        held_out: only their texts are made, since no text that is trained on may share words with
            them; none where they are annotated too.
    """

    annotated: list[ShardEntry]
    held_out: list[ShardEntry]


def chosen_shards(manifest: Manifest, shards: Sequence[str], settings: Settings) -> ChosenShards:
    """The active shards that were named, or else all, of which `sampling.shards` may leave few.

    These few are the first of every source, as many of each as of the others.
    """
    active, most = manifest.active_shards, settings.sampling.shards
    if shards:
        return ChosenShards([manifest.entry(key) for key in dict.fromkeys(shards)], [])
    if most is None:
        return ChosenShards(active, [])
    taken: Counter[str] = Counter()
    places: dict[str, int] = {}
    for entry in active:
        if not entry.is_held_out:
            places[entry.key] = taken[entry.source]
            taken[entry.source] += 1
    first = set(sorted(places, key=places.__getitem__)[:most])
    return ChosenShards(
        [entry for entry in active if entry.key in first],
        [entry for entry in active if entry.is_held_out],
    )
