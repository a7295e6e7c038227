"""From the settings to what does the work: models, readers, retrievers, tools."""
