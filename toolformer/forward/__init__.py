"""How a model is loaded and fed: attention, caches, batches, and what survives a kill."""
