"""Runs from the command line: what one would do, and how it is started."""
