"""The losses behind a call: with its result, without, and with a swapped result (paper: §2)."""
