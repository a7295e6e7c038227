"""Digests, files that appear whole and errors of loading. Imports nothing of ours."""
