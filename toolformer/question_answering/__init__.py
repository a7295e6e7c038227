"""Readers that answer a question from passages."""
