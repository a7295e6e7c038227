"""The commands of `toolformer`, one module each, and the helpers that they share."""
