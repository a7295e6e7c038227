"""Tasks of EleutherAI's lm-evaluation-harness, answered by a model with live calls.

Needs the package lm-eval, but no home, toolformer.yaml or Dagster.
"""
