"""HTTP server: OpenAI-compatible completions and chats with live tool calls, and a playground."""
