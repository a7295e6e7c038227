"""Reads text sources as streams of records, and cuts the streams into shards."""
