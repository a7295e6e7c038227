"""What `generate` decodes with where nothing else is said: the defaults of the settings.

In the directory of a model (`model_folder`) these are numbers.
"""

from toolformer_home.settings.annotation_sections import ExecutionSettings
from toolformer_home.settings.sections import DecodingSettings

_DECODING = DecodingSettings()  # pyright: ignore[reportCallIssue]
_EXECUTION = ExecutionSettings()  # pyright: ignore[reportCallIssue]

CALL_TOP_K = _DECODING.call_top_k
MAX_CALLS = _DECODING.max_calls
MAX_CALL_TOKENS = _DECODING.max_call_tokens
MAX_RESULT_TOKENS = _EXECUTION.max_result_tokens
DEADLINE_SECONDS = _EXECUTION.deadline_seconds
ATTEMPTS = _EXECUTION.attempts
