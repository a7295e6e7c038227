"""Where texts come from: files and folders, each read once and cut into shards of parsed records.

Does not know Dagster or the warehouse, and holds no text in memory beyond the record at hand.
"""
