"""The commands of `toolformer`, one module each, and what they print with."""
