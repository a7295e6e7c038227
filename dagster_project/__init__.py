"""The Dagster project: definitions, settings, resources, command line."""
