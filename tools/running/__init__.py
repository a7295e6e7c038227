"""Executes calls of tools with deadlines, isolated processes and a cache, and tests tools."""
