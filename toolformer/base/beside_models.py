"""Files beside a model that say how it is decoded: with others it is the same model."""

MIN_CALL_PROBABILITY_FILE = "min_call_probability.json"
BESIDE_MODELS = frozenset({MIN_CALL_PROBABILITY_FILE})
# What the training left beside the weights; it is part of what the model is.
RECORD_FILE = "toolformer.json"
# Transformers applies it where PEFT is installed, and tells then of the adapter's missing weights
# alone.
ADAPTER_FILE = "adapter_config.json"
