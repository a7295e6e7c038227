"""A model over HTTP: OpenAI's completions with live calls, and a page to watch them on."""
