"""The model that a server runs, as the settings name it."""

import json
import logging
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest
from toolformer.errors import ModelNotFoundError, ServedModelError, ToolformerError
from toolformer.forward.model_directory import configurations
from toolformer.home.progress import waiting_shown
from toolformer.settings.sections import ServerSettings, Settings
from tools.model_identity import tokenizer_files

if TYPE_CHECKING:
    from toolformer.served.http_client import CompletionsClient
    from toolformer.served.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
# They are waited for, if they are started again.
_HAVE_ANSWERED: set[ServerSettings] = set()


def check_tokenizer_directory(directory: Path) -> None:
    """Refuse a directory without the tokenizer of a served model.

    Raises:
        ModelNotFoundError: there is none.
    """
    if not any(directory.glob("tokenizer*.json")):
        raise ModelNotFoundError(
            f"There is no tokenizer (tokenizer.json) in {str(directory)!r}. With "
            "language_model.server only token ids are sent: set language_model.path to a folder "
            "with the tokenizer of the served model; it needs no weights."
        )


def check_has_weights(directory: Path, server: ServerSettings) -> None:
    """Refuse to do without weights what a server does not.

    Raises:
        ModelNotFoundError: there is the tokenizer of a served model alone.
    """
    if server.url and not any(directory.glob("*.safetensors")):
        raise ModelNotFoundError(
            f"There are no weights (*.safetensors) in {str(directory)!r}, and the server of "
            "language_model.server only samples, scores and decodes. Training needs the model on "
            "this machine: set language_model.path to its directory."
        )


def served_identity(server: ServerSettings, directory: Path) -> str:
    """What tells a served model from others: its name, what the server says, tokenizer and ends.

    And how it is asked for samples, which are of other seeds since they are asked for together. The
    address does not: the same model elsewhere is the same model.

    Args:
        directory: has the tokenizer, and maybe the configurations that say what ends a text.

    Raises:
        ServedModelError: the server does not answer, or has no such model.
    """
    with closing(_client(server)) as client:
        if server in _HAVE_ANSWERED:
            client.is_known()
        card = client.described()
    _HAVE_ANSWERED.add(server)
    ours = [file.read_bytes().hex() for file in tokenizer_files(directory)]
    ours.append(json.dumps(configurations(directory)))
    theirs = card.id, card.root, card.revision, card.dtype, card.quantization
    return hex_digest("served: seeds that count up", *theirs, *ours)


def open_served(settings: Settings, directory: Path) -> "ServedModel":
    """The served model, whose server is looked at now; close it.

    Raises:
        ServedModelError: it cannot do what annotation needs.
    """
    from toolformer.forward.tokenization import load_tokenizer
    from toolformer.served.served_model import ServedModel

    section = settings.language_model
    client = _client(section.server)
    try:
        model = ServedModel(
            client,
            load_tokenizer(directory),
            bos_token=section.bos_token,
            configurations=configurations(directory),
        )
    except ToolformerError:
        client.close()
        raise
    ends = [model.tokenizer.token_text(token) for token in sorted(model.end_ids)]
    _LOGGER.info("texts of the served model end with %s", " or ".join(map(repr, ends)))
    return model


def _client(server: ServerSettings) -> "CompletionsClient":
    from toolformer.served.http_client import CompletionsClient

    key = None
    if server.key_variable is not None:
        key = os.environ.get(server.key_variable, "").strip()
        if not (key and key.isascii() and key.isprintable()):
            raise ServedModelError(
                f"The environment variable {server.key_variable!r} is not set, or holds no key of "
                "one line, and language_model.server.key_variable says that it holds the server's "
                "key. Set it."
            )
    return CompletionsClient(str(server.url), str(server.model), key=key, waiting=waiting_shown)
