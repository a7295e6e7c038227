"""Publishes the partitions of a home in its folder; see `partition_store`."""
