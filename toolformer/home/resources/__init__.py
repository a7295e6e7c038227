"""Dagster resources: the configuration of a run, and the objects its stages share."""
