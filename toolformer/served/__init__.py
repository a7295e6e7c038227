"""Runs the method with a language model on a completion server."""
