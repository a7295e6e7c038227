"""The method of the paper as an engine, and what is built on it: a home, a server, adapters."""
