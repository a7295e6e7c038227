"""The engine: the method of the paper, without orchestration and without storage."""
