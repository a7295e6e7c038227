"""Declares the evaluation stage and the settings on which its outputs depend."""

from collections.abc import Callable
from pathlib import Path

from assets.identities import base_identity, base_template, known
from assets.stage import PER_EVALUATION, TOOL_VERSIONS, Part, Stage, always
from assets.training.benchmark_texts import known_texts
from toolformer.home.home import Home
from toolformer.settings.sections import Settings
from tools.model_identity import chat_template_identity, model_identity

# Room for a call counts in every mode: an item that leaves none is asked in no mode.
OF_QUESTIONS = (
    "language_model.precision",
    "evaluation.batch_size",
    "decoding.max_calls",
    "decoding.max_call_tokens",
    "execution.max_result_tokens",
)
OF_CALLS = ("decoding.call_attempts", "execution.deadline_seconds", "evaluation.today")
# Losses of texts are always computed in float32, so no precision is listed.
OF_TEXTS = (
    "corpus.window_tokens",
    "scoring.token_budget",
    "evaluation.perplexity_windows",
    "evaluation.seed",
)


def _known_questions(settings: Settings, _home: Home) -> object:
    evaluation = settings.evaluation
    names = (*evaluation.files, *evaluation.questions)
    described = [each.model_dump(exclude={"path"}) for each in evaluation.questions.values()]
    return [evaluation.dateset_items, known_texts(settings, names), described]


def _known_models(
    settings: Settings, _home: Home, of: Callable[[Path], str] = model_identity
) -> object:
    models = {name: known(of, Path(path)) for name, path in settings.evaluation.models.items()}
    return [models, settings.language_model.bos_token]


def _known_templates(settings: Settings, home: Home) -> object:
    if settings.evaluation.form != "chat":
        return None
    return [base_template(settings), _known_models(settings, home, chat_template_identity)]


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
        Part(
            "questions",
            ("evaluation.files", "evaluation.questions", "evaluation.dateset_items"),
            known=_known_questions,
        ),
        Part("items", ("evaluation.items",)),
        Part("chat_template", ("evaluation.form",), known=_known_templates),
        Part(
            "language_model",
            ("evaluation.models", "language_model.bos_token", "training.variant"),
            known=_known_models,
        ),
        Part("blocked_tools"),
        TOOL_VERSIONS,
        Part("call_top_k", ("decoding.call_top_k",)),
        Part("min_call_probability", ("decoding.min_call_probability",)),
        Part("without_tool"),
        Part("is_forced"),
        Part("held_out_documents"),
        Part(
            "file",
            ("evaluation.texts",),
            known=lambda settings, _: known_texts(settings, settings.evaluation.texts),
        ),
        Part(
            "base",
            ("language_model.path", "language_model.server.model"),
            known=lambda settings, _: base_identity(settings),
        ),
    ),
    needs_device=always,
)
