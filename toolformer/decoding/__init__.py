"""A text that is continued with live calls."""
