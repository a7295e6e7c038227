"""Losses that decide about a call: with its result, without it, and with a swapped one (§2)."""
