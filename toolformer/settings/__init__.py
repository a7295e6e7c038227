"""`toolformer.yaml`: its sections, the presets, and the file itself."""
