"""What question answering reads passages with: the base model.

It is loaded at the first question, under the lock of its device; where a server has its weights,
the server is asked.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.question_answering.reader import LanguageModelReader, ReadingParameters
from toolformer_home.home import Home
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.model_holder import ModelHolder, base_model_directory
from toolformer_home.wiring.served import has_weights, served_identity
from tools.model_identity import model_identity
from tools.retrieval.retrieval_tool import Reader

if TYPE_CHECKING:
    from toolformer.forward.model import Model

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

    def load() -> "Model":
        directory = base_model_directory(settings, home)
        if _is_served(settings, directory):
            return holder.load_served(directory, settings)
        return holder.load(directory, settings, home)

    return LanguageModelReader(
        load, identity=lambda: _identity(settings, home), parameters=_READING
    )


def _is_served(settings: Settings, directory: Path) -> bool:
    return bool(settings.language_model.server.url) and not has_weights(directory)


def _identity(settings: Settings, home: Home) -> str:
    model_settings, directory = settings.language_model, base_model_directory(settings, home)
    parts = [model_identity(directory), model_settings.precision]
    if _is_served(settings, directory):
        parts = [served_identity(settings, directory)]
    if model_settings.bos_token is not None:
        # It stands in front of every passage; answers are kept under the version of QA.
        parts.append(f"bos_token={model_settings.bos_token}")
    return " ".join(parts)
