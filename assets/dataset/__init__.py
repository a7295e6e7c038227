"""The stages of `build_dataset`, which run shard by shard."""
