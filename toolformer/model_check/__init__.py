"""A model against plain transformers: whole rows, no cache, one at a time."""
