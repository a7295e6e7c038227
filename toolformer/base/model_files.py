"""Defines the names of files in a model directory."""

# Settings for decoding with a model. They are not part of the model's identity.
MIN_CALL_PROBABILITY_FILE = "min_call_probability.json"
# Record of a model's training. It is part of the model's identity.
RECORD_FILE = "toolformer.json"
# Transformers applies an adapter if PEFT is installed; otherwise it only reports missing weights.
ADAPTER_FILE = "adapter_config.json"
