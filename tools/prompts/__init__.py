"""Few-shot prompts as text files."""
