"""The model of the method, where a server runs it."""
