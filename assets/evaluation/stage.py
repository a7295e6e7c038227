"""The stage of the evaluation, and what its outputs depend on."""

from collections.abc import Mapping, Sequence

from assets.stage import PER_EVALUATION, TOOL_VERSIONS, Part, Stage, always
from toolformer.evaluation.modes import Mode
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.settings.sections import Settings

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
    "scoring.token_budget",
    "evaluation.perplexity_windows",
    "evaluation.seed",
)

EVALUATION_RESULTS = Stage(
    name="evaluation_results",
    version="6",
    group="evaluate",
    kinds=("pytorch", "duckdb"),
    per=PER_EVALUATION,
    reads=("wikipedia_index", "passage_index"),
    reads_all=("finetuned_model", "min_call_probability", "documents"),
    settings=(*_OF_QUESTIONS, *_OF_CALLS, *_OF_TEXTS),
    parts=(
        Part("questions", ("evaluation.files", "evaluation.questions", "evaluation.dateset_items")),
        Part("items", ("evaluation.items",)),
        Part("chat_template", ("evaluation.form",)),
        Part(
            "language_model", ("evaluation.models", "language_model.bos_token", "training.variant")
        ),
        Part("blocked_tools"),
        TOOL_VERSIONS,
        Part("call_top_k", ("decoding.call_top_k",)),
        Part("min_call_probability", ("decoding.min_call_probability",)),
        Part("without_tool"),
        Part("is_forced"),
        Part("held_out_documents"),
        Part("file", ("evaluation.texts",)),
    ),
    needs_device=always,
)


def questions_fingerprint(
    questions: str,
    items: int,
    mode: Mode,
    settings: Settings,
    model: str,
    *,
    chat_template: str | None,
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
        chat_template: digest of its template where questions are chats.
        blocked_tools: those that the benchmark blocks.
        tool_versions: by name, of the tools that may be called.
    """
    parts = {
        "questions": questions,
        "items": items,
        "language_model": [model, settings.language_model.bos_token],
    }
    if chat_template is not None:
        parts["chat_template"] = chat_template
    if mode.is_disabled:
        return EVALUATION_RESULTS.fingerprint(settings, parts, paths=_OF_QUESTIONS)
    parts |= {
        "blocked_tools": list(blocked_tools),
        "tool_versions": dict(tool_versions),
        "call_top_k": mode.call_top_k,
        "min_call_probability": mode.min_call_probability,
        "without_tool": mode.without_tool,
        "is_forced": mode.is_forced,
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
