"""Thin Dagster resources: what a run is configured with, and what it shares."""
