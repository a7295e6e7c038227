"""Where texts come from: files and folders, each read once and cut into shards of parsed records.

Only the text of the current record is held in memory.
"""
