"""Reads text sources as streams of records, and cuts these into shards."""
