"""Transformers' own `generate` with live calls, for a model that was finetuned here.

Needs a model directory and tools. Does not know a home or toolformer.yaml, and no Dagster.
"""

from toolformer_generation.generate import toolformer_generate

__all__ = ["toolformer_generate"]
