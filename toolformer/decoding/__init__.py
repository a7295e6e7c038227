"""Decoding with live tool calls (paper §2, "Inference")."""
