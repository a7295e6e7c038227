"""The reader that answers a question from passages: the language model."""
