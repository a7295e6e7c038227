"""The tools: what a call can ask, how calls are written, and the few-shot prompts."""
