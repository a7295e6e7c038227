"""What every package may import: digests, whole files, loading errors, shared constants.

Imports nothing of ours.
"""
