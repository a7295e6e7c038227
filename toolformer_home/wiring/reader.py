"""What question answering reads passages with: the base model.

It is loaded at the first question, under the lock of its device.
"""

from pathlib import Path

from toolformer.question_answering.reader import LanguageModelReader, ReadingParameters
from toolformer_home.home import Home
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.model_holder import ModelHolder, base_model_directory
from toolformer_home.wiring.served import has_weights
from tools.errors import ToolUnavailableError
from tools.model_identity import model_identity
from tools.retrieval.retrieval_tool import Reader

_READING = ReadingParameters(
    passage_words=120,
    answer_words=6,
    beam_width=8,
    min_probability=0.001,
    question_weight=0.5,
)


def open_reader(settings: Settings, home: Home, holder: ModelHolder) -> Reader:
    """The base model as a reader.

    It reads in every round, whichever model annotates: what a tool answers must not change with
    the model that asks.
    """
    _check_can_read(settings)
    return LanguageModelReader(
        lambda: holder.load(base_model_directory(settings, home), settings, home),
        identity=lambda: _identity(settings, home),
        parameters=_READING,
    )


def _check_can_read(settings: Settings) -> None:
    path = settings.language_model.path
    if settings.language_model.server.url and path != "embedded" and not has_weights(Path(path)):
        raise ToolUnavailableError(
            "QA",
            "the base model reads passages for it, and a server has its weights",
            "Set language_model.path to the model itself",
        )


def _identity(settings: Settings, home: Home) -> str:
    model_settings = settings.language_model
    parts = [model_identity(base_model_directory(settings, home)), model_settings.precision]
    if model_settings.bos_token is not None:
        # It stands in front of every passage; answers are kept under the version of QA.
        parts.append(f"bos_token={model_settings.bos_token}")
    return " ".join(parts)
