"""Builds models, readers, retrievers, tools and benchmarks from the settings."""
