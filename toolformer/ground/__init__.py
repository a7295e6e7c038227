"""What every package may import: digests, files that appear whole, what parts must agree on.

Imports nothing of ours.
"""
