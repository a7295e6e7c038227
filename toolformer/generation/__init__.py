"""Transformers' own `generate` with live calls, for a model that was finetuned here.

Needs a model directory and tools, but no home, toolformer.yaml or Dagster.
"""

from toolformer.generation.generate import toolformer_generate

__all__ = ["toolformer_generate"]
