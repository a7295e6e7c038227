"""The settings: sections with defaults and bounds, presets, and reading of `toolformer.yaml`."""
