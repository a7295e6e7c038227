"""Loads language models, plans batches, and computes losses, ranks and samples."""
