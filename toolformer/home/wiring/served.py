"""Connects to the model that a server runs (`language_model.server`)."""

import json
import logging
import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest
from toolformer.errors import ModelNotFoundError, ServedModelError
from toolformer.forward.model_directory import configurations
from toolformer.home.progress import show_waiting
from toolformer.settings.sections import LanguageModelSettings, ServerSettings
from tools.model_identity import tokenizer_files

if TYPE_CHECKING:
    from toolformer.served.http_client import CompletionsClient
    from toolformer.served.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
# Servers that have answered before. The client waits longer for them, since they may restart.
_HAVE_ANSWERED: set[ServerSettings] = set()


def check_tokenizer_directory(directory: Path) -> None:
    if not any(directory.glob("tokenizer*.json")):
        raise ModelNotFoundError(
            f"There is no tokenizer (tokenizer.json) in {str(directory)!r}. It is needed because "
            "language_model.server receives token ids. Set language_model.path to a folder with "
            "the tokenizer of the served model; weights are not needed."
        )


def served_identity(server: ServerSettings, directory: Path) -> str:
    """Return a digest of the server's model description, the tokenizer and the configurations.

    It does not cover the address: the same model on another server has the same identity. Raises
    ServedModelError if the server does not answer or does not have the model.
    """
    with closing(_client(server)) as client:
        if server in _HAVE_ANSWERED:
            client.extend_patience()
        card = client.model_card()
    _HAVE_ANSWERED.add(server)
    ours = [file.read_bytes().hex() for file in tokenizer_files(directory)]
    ours.append(json.dumps(configurations(directory)))
    theirs = card.id, card.root, card.revision, card.dtype, card.quantization
    return hex_digest("served: seeds that count up", *theirs, *ours)


def open_served(section: LanguageModelSettings, directory: Path) -> "ServedModel":
    """Connect to the served model; raise ServedModelError if its server cannot annotate."""
    from toolformer.forward.tokenization import load_tokenizer
    from toolformer.served.served_model import ServedModel

    with ExitStack() as opened:
        client = opened.enter_context(closing(_client(section.server)))
        model = ServedModel(
            client,
            load_tokenizer(directory),
            bos_token=section.bos_token,
            configurations=configurations(directory),
        )
        opened.pop_all()
    ends = [model.tokenizer.token_text(token) for token in sorted(model.end_ids)]
    _LOGGER.info("the served model ends its texts with %s", " or ".join(map(repr, ends)))
    return model


def _client(server: ServerSettings) -> "CompletionsClient":
    from toolformer.served.http_client import CompletionsClient

    key = None
    if server.key_variable is not None:
        key = os.environ.get(server.key_variable, "").strip()
        if not (key and key.isascii() and key.isprintable()):
            raise ServedModelError(
                f"The environment variable {server.key_variable!r} is not set or is not a key. "
                "language_model.server.key_variable says that it holds the server's key. Set it to "
                "one line of printable ASCII characters."
            )
    return CompletionsClient(str(server.url), str(server.model), key=key, waiting=show_waiting)
