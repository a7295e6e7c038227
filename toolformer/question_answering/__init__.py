"""Answers questions from retrieved passages."""
