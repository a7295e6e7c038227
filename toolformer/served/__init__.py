"""Runs the method with a language model behind a completion server."""
