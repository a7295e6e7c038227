"""The stage of the evaluation, and the settings that its outputs depend on."""

from assets.stage import PER_EVALUATION, TOOL_VERSIONS, Part, Stage, always

# In every mode an item is left out where no call would have room.
OF_QUESTIONS = (
    "language_model.precision",
    "evaluation.batch_size",
    "decoding.max_calls",
    "decoding.max_call_tokens",
    "execution.max_result_tokens",
)
OF_CALLS = ("decoding.call_attempts", "execution.deadline_seconds", "evaluation.today")
# Losses of texts are always of float32.
OF_TEXTS = (
    "corpus.window_tokens",
    "scoring.token_budget",
    "evaluation.perplexity_windows",
    "evaluation.seed",
)

EVALUATION_RESULTS = Stage(
    name="evaluation_results",
    version="7",
    group="evaluate",
    kinds=("pytorch", "duckdb"),
    per=PER_EVALUATION,
    reads=("wikipedia_index", "passage_index"),
    reads_all=("finetuned_model", "min_call_probability", "documents"),
    settings=(*OF_QUESTIONS, *OF_CALLS, *OF_TEXTS),
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
        Part("base", ("language_model.path", "language_model.server.model")),
    ),
    needs_device=always,
)
