"""Evaluation of models: answers and losses item by item, and the comparisons made from them."""
