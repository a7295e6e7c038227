"""Benchmarks of the paper (§4.2): questions, prompts, blocked tools and scoring rules."""
