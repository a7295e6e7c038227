"""Faults on purpose; see `python -m tests.faults`."""
