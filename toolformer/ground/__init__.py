"""What every package may import: digests, whole files, errors of loading, what parts agree on.

Imports nothing of ours.
"""
