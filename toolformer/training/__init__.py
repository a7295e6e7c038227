"""Finetuning on C*: training set, rows, loss and training loop."""
