"""A model over HTTP: OpenAI's completions with live calls, metrics, and a page to watch them on."""
