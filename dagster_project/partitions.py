"""The partitions: shards, registered when the corpus is cut, and the variants of the model.

Does not cut the corpus.
"""

from contextlib import suppress

import dagster as dg

from toolformer.training.variants import VARIANTS

# The finetuned model and its controls.
MODEL_VARIANTS = dg.StaticPartitionsDefinition(list(VARIANTS))
SHARDS = dg.DynamicPartitionsDefinition(name="shard")
# A run takes this many shards of a backfill at once, so that the model is loaded once for all.
SHARDS_PER_RUN = 64


def register_shards(instance: dg.DagsterInstance, active_keys: list[str]) -> list[str]:
    """Make the registered partitions those of the active shards; returns the new ones."""
    from sqlalchemy.exc import IntegrityError

    name = SHARDS.name or "shard"
    registered = set(instance.get_dynamic_partitions(name))
    for key in sorted(registered.difference(active_keys)):
        instance.delete_dynamic_partition(name, key)
    new = [key for key in active_keys if key not in registered]
    missing = new
    while missing:
        # Another process may register the same keys at the same time.
        with suppress(IntegrityError):
            instance.add_dynamic_partitions(name, missing)
        registered = set(instance.get_dynamic_partitions(name))
        missing = [key for key in missing if key not in registered]
    return new
