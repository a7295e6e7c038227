"""Names of files in a model directory."""

# Says how a model is decoded, which is no part of its identity.
MIN_CALL_PROBABILITY_FILE = "min_call_probability.json"
# Says how a model was trained, which is part of its identity.
RECORD_FILE = "toolformer.json"
# Transformers applies it if PEFT is installed, and otherwise reports missing weights only.
ADAPTER_FILE = "adapter_config.json"
