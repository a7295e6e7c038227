"""Passages, the indexes over them, and their ranking for a query."""
