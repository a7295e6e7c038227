"""Figures of the report and of asset metadata, drawn with Matplotlib."""
