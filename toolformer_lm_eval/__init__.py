"""Tasks of EleutherAI's lm-evaluation-harness, answered by a model with live calls.

Needs the package lm-eval. Does not know a home or toolformer.yaml, and no Dagster.
"""
