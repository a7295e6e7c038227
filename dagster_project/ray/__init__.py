"""Runs on a Ray cluster: how they are launched, placed, and ended. Needs the extra `ray`."""
