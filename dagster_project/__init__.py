"""The Dagster project: definitions, runs and the command line."""
