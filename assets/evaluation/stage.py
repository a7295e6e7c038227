"""The stage of the evaluation, and what its outputs depend on."""

from collections.abc import Mapping, Sequence

from assets.stage import TOOL_VERSION, Stage
from toolformer.evaluation.modes import Mode
from toolformer_home.fingerprints import Fingerprint
from toolformer_home.settings.sections import Settings

# In every mode an item is left out where no call would have room.
_OF_QUESTIONS = (
    "language_model.precision",
    "evaluation.batch_size",
    "decoding.max_calls",
    "decoding.max_call_tokens",
    "execution.max_result_tokens",
)
_OF_CALLS = ("execution.deadline_seconds", "evaluation.today")
# Losses of texts are always of float32.
_OF_TEXTS = (
    "corpus.window_tokens",
    "evaluation.perplexity_windows",
    "evaluation.seed",
    "scoring.token_budget",
)

EVALUATION_RESULTS = Stage(
    name="evaluation_results",
    version="5",
    settings=(*_OF_QUESTIONS, *_OF_CALLS, *_OF_TEXTS),
    settings_of_parts=(
        "evaluation.files",
        "evaluation.questions",
        "evaluation.texts",
        "evaluation.models",
        "evaluation.items",
        "evaluation.dateset_items",
        "decoding.call_top_k",
        "decoding.min_call_probability",
        "language_model.bos_token",
        "tools.*.is_enabled",
        *TOOL_VERSION.settings,
        "training.variant",
    ),
)


def questions_fingerprint(
    questions: str,
    items: int,
    mode: Mode,
    settings: Settings,
    model: str,
    *,
    blocked_tools: Sequence[str],
    tool_versions: Mapping[str, str],
) -> Fingerprint:
    """The fingerprint of a model's answers in one mode; tools and calls count only with calls.

    Args:
        questions: digest of the items and of how they are asked and scored.
        items: how many they are.
        mode: how the model is used.
        settings: settings of the run.
        model: its identity.
        blocked_tools: those that the benchmark blocks.
        tool_versions: by name, of the tools that may be called.
    """
    parts = {
        "questions": questions,
        "items": items,
        "language_model": [model, settings.language_model.bos_token],
    }
    if mode.is_disabled:
        return EVALUATION_RESULTS.fingerprint(settings, parts, paths=_OF_QUESTIONS)
    parts |= {
        "blocked_tools": list(blocked_tools),
        "tool_versions": dict(tool_versions),
        "call_top_k": mode.call_top_k,
        "min_call_probability": mode.min_call_probability,
        "without_tool": mode.without_tool,
    }
    return EVALUATION_RESULTS.fingerprint(settings, parts, paths=(*_OF_QUESTIONS, *_OF_CALLS))


def losses_fingerprint(
    settings: Settings,
    model: str,
    *,
    held_out_documents: Mapping[str, str],
    file: str | None,
) -> Fingerprint:
    """The fingerprint of a model's losses, of held-out shards or of a text file's digest."""
    parts = {
        "language_model": [model, settings.language_model.bos_token],
        "held_out_documents": dict(held_out_documents),
        "file": file,
    }
    return EVALUATION_RESULTS.fingerprint(settings, parts, paths=_OF_TEXTS)
