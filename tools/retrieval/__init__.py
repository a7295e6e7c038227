"""Passages, the indexes over them, and how they are ranked for a query."""
