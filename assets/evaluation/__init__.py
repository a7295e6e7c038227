"""Measuring models: their answers and losses, item by item, and what these say together."""
