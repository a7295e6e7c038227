"""Files beside a model that say how it is decoded: with others it is the same model."""

CALL_THRESHOLD_FILE = "call_threshold.json"
BESIDE_MODELS = frozenset({CALL_THRESHOLD_FILE})
