"""The shard partitions: dynamic, registered when the corpus is cut.

Does not cut the corpus.
"""

import dagster as dg

SHARDS = dg.DynamicPartitionsDefinition(name="shard")
# A run takes this many shards of a backfill at once, so that the model is loaded once for all.
SHARDS_PER_RUN = 64


def register_shards(instance: dg.DagsterInstance, active_keys: list[str]) -> list[str]:
    """Make the registered partitions those of the active shards; returns the new ones."""
    name = SHARDS.name or "shard"
    registered = set(instance.get_dynamic_partitions(name))
    for key in sorted(registered.difference(active_keys)):
        instance.delete_dynamic_partition(name, key)
    new = [key for key in active_keys if key not in registered]
    if new:
        instance.add_dynamic_partitions(name, new)
    return new
