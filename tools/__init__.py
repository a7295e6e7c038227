"""Tools: what calls can ask, how calls are written, and the few-shot prompts."""
