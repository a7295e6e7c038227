"""What question answering reads passages with: the base model.

It is loaded at the first question, under the lock of its device; of a served one the server is
asked.
"""

from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.model_location import base_model
from toolformer.question_answering.reader import LanguageModelReader
from toolformer.settings.sections import Settings
from tools.retrieval.retrieval_tool import Reader


def open_reader(settings: Settings, home: Home, holder: ModelHolder) -> Reader:
    """The base model as a reader.

    It reads in every round, whichever model annotates: what a tool answers must not change with
    the model that asks.
    """
    return LanguageModelReader(
        lambda: base_model(settings, home).load(holder, settings, home),
        identity=lambda: _identity(settings, home),
    )


def _identity(settings: Settings, home: Home) -> str:
    model_settings, base = settings.language_model, base_model(settings, home)
    # What a server says of its model has the precision.
    parts = [base.identity(settings), *([] if base.is_served else [model_settings.precision])]
    if model_settings.bos_token is not None:
        # It stands in front of every passage; answers are kept under the version of QA.
        parts.append(f"bos_token={model_settings.bos_token}")
    return " ".join(parts)
