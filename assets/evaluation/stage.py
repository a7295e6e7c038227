"""Declares the evaluation stage and the settings on which its outputs depend."""

from collections.abc import Callable
from pathlib import Path

from assets.identities import base_identity, base_template, identity_or_none
from assets.stage import PER_EVALUATION, TOOL_VERSIONS, FingerprintPart, Stage, always
from assets.training.benchmark_texts import benchmark_identities
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
    return [evaluation.dateset_items, benchmark_identities(settings, names), described]


def _known_models(
    settings: Settings, _home: Home, of: Callable[[Path], str] = model_identity
) -> object:
    models = {
        name: identity_or_none(of, Path(path)) for name, path in settings.evaluation.models.items()
    }
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
        FingerprintPart(
            "questions",
            ("evaluation.files", "evaluation.questions", "evaluation.dateset_items"),
            code_version_value=_known_questions,
        ),
        FingerprintPart("items", ("evaluation.items",)),
        FingerprintPart("chat_template", ("evaluation.form",), code_version_value=_known_templates),
        FingerprintPart(
            "language_model",
            ("evaluation.models", "language_model.bos_token", "training.variant"),
            code_version_value=_known_models,
        ),
        FingerprintPart("blocked_tools"),
        TOOL_VERSIONS,
        FingerprintPart("call_top_k", ("decoding.call_top_k",)),
        FingerprintPart("min_call_probability", ("decoding.min_call_probability",)),
        FingerprintPart("without_tool"),
        FingerprintPart("is_forced"),
        FingerprintPart("held_out_documents"),
        FingerprintPart(
            "file",
            ("evaluation.texts",),
            code_version_value=lambda settings, _: benchmark_identities(
                settings, settings.evaluation.texts
            ),
        ),
        FingerprintPart(
            "base",
            ("language_model.path", "language_model.server.model"),
            code_version_value=lambda settings, _: base_identity(settings),
        ),
    ),
    needs_device=always,
)
