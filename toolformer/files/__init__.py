"""Digests, whole files, errors of loading, misspelt names. Imports nothing of ours."""
