"""The stages of `build_dataset`, and what makes their outputs, shard by shard."""
