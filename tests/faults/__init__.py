"""Faults on purpose: real commands killed, starved and crossed (`python -m tests.faults`)."""
