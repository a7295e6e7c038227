"""Benchmarks: prompts, questions and scoring rules (paper §4.2–4.3)."""
