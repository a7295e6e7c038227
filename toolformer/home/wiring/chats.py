"""Which texts are trained on as chats, and which models are asked as chats."""

import json
from pathlib import Path

from toolformer.errors import ChatTemplateError
from toolformer.files.beside_models import RECORD_FILE
from toolformer.forward.start_token import start_token
from toolformer.forward.tokenization import Tokenizer
from toolformer.home.settings.sections import Settings
from toolformer.training.chats import Chats


def takes_chats(directory: Path) -> bool:
    """Whether the model of a directory is asked by its chat template, where it has one.

    A model that was finetuned here on plain texts alone is not: behind the template it would hardly
    call its tools. Of other models nobody here knows better than their template.
    """
    record = directory / RECORD_FILE
    return not record.exists() or bool(json.loads(record.read_text())["facts"].get("chats"))


def chats_of(tokenizer: Tokenizer, settings: Settings) -> Chats | None:
    """What writes texts as chats; None where none is wanted, or no template takes a question."""
    share, seed = settings.training.chat_share, settings.training.seed
    start = start_token(tokenizer, settings.language_model.bos_token)
    try:
        return Chats(tokenizer, start, share=share, seed=seed) if share else None
    except ChatTemplateError:
        return None
