"""Tools that users add: Python functions, tables and tools of MCP servers."""
