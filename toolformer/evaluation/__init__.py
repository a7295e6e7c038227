"""Benchmarks, scoring rules and confidence intervals (paper §4.2–4.3)."""
