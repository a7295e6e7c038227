"""Modules that every package may import; they import nothing of ours."""
