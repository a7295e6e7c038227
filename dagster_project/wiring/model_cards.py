"""Writes the card of a finetuned model: after its training, when it is calibrated, and measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster_project.settings.sections import Settings
from dagster_project.wiring.source_licences import APACHE, source_licences
from toolformer.decoding.call_threshold import read_call_threshold
from toolformer.forward.embedded_model import EMBEDDED_MODEL_NAME
from toolformer.ground.whole_files import write_whole
from toolformer.training.finetuning import RECORD_FILE
from toolformer.training.model_card import CARD_FILE, model_card


def write_model_card(
    directory: Path,
    base: Path,
    settings: Settings,
    *,
    evaluation: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the card; an earlier one is replaced. It has no part in the model's identity.

    Args:
        directory: of the finetuned model.
        base: of the model that it began with.
        settings: with the sources of the texts.
        evaluation: rows of `evaluation_summary` of both models.

    Raises:
        OSError: it cannot be written.
    """
    record = json.loads((directory / RECORD_FILE).read_text())
    card = model_card(
        directory.name,
        record,
        base_license=_license_of(base),
        sources=source_licences(settings),
        evaluation=evaluation,
        call_threshold=read_call_threshold(directory),
    )
    write_whole(directory / CARD_FILE, card)


def _license_of(base: Path) -> str | None:
    """What the card of the base model says; None where there is no card or no one word in it."""
    if base.name == EMBEDDED_MODEL_NAME:
        return APACHE
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        found = ModelCard.load(base / CARD_FILE).data.license  # pyright: ignore[reportAttributeAccessIssue]
    except (OSError, RecursionError, TypeError, ValueError, YAMLError):
        return None
    # A list of aliases can stand for more than memory holds.
    return found if isinstance(found, str) else None
