"""Where texts come from: files and folders, cut once into raw slices, one per shard.

Does not know Dagster or the warehouse, and holds no text in memory beyond the record at hand.
"""
