"""Writes the model card of a finetuned model: after training, calibration and evaluation."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolformer.base.atomic_files import write_atomically
from toolformer.base.model_files import RECORD_FILE
from toolformer.decoding.calibration import read_min_call_probability
from toolformer.forward.embedded_model import EMBEDDED_MODEL_NAME
from toolformer.home.wiring.models import base_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.corpus_sections import STARTERS, WIKIPEDIA_EXCERPT, normalised_path
from toolformer.settings.settings_file import corpus_sources
from toolformer.sources.manifest import Manifest
from toolformer.training.model_card import CARD_FILE, model_card

_Rows = Sequence[Mapping[str, Any]]
_APACHE = "apache-2.0"
_BUILT_IN_LICENCES = {
    **dict.fromkeys(STARTERS, _APACHE),
    WIKIPEDIA_EXCERPT: "cc-by-sa, of the English Wikipedia",
}
_EMBEDDED = ("HuggingFaceTB", "SmolLM2-135M-Instruct")
# Folders in the cache of `huggingface_hub`, and paths of sources on the Hub.
_CACHED = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/")
_DATASET = re.compile(r"hf://datasets/([^/]+/[^/@]+)")
_NOT_STATED = (
    "not stated (`license` of the source in toolformer.yaml); see the publisher of the texts"
)


def source_licences(work: Workspace) -> list[tuple[str, str]]:
    """Return name and licence of each source that is listed or still has shards."""
    manifest = Manifest.load(work.home.sources)
    sources = corpus_sources(work.settings, manifest.stored_sources)
    listed = {normalised_path(source.path): source.license for source in sources}
    with_shards = (entry.source for entry in manifest.active_shards)
    return [
        (Path(name).name, listed.get(name) or _BUILT_IN_LICENCES.get(name, _NOT_STATED))
        for name in dict.fromkeys([*listed, *with_shards])
    ]


def write_model_card(directory: Path, work: Workspace, *, evaluation: _Rows = ()) -> None:
    """Write or replace the card, which is not part of the model's identity.

    `evaluation` has the rows of `evaluation_summary` for this model and the base model.
    """
    base = base_model_directory(work)
    sources = [each.path for each in work.settings.corpus.sources]
    cached = [_EMBEDDED] if base.name == EMBEDDED_MODEL_NAME else _CACHED.findall(str(base))
    record = json.loads((directory / RECORD_FILE).read_text())
    # The settings may name another base model by now.
    is_known = base.name == record["base"]
    card = model_card(
        directory.name,
        record,
        base_license=_license_of(base) if is_known else None,
        base_on_hub="/".join(cached[0]) if cached and is_known else "",
        datasets=sorted({name[1] for name in map(_DATASET.match, sources) if name}),
        sources=source_licences(work),
        evaluation=evaluation,
        min_call_probability=read_min_call_probability(directory),
    )
    write_atomically(directory / CARD_FILE, card)


def _license_of(base: Path) -> str | None:
    """Return the licence in the card of the base model, or None if it states none."""
    if base.name == EMBEDDED_MODEL_NAME:
        return _APACHE
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        license_name = ModelCard.load(base / CARD_FILE).data.license  # pyright: ignore[reportAttributeAccessIssue]
    except (OSError, RecursionError, TypeError, ValueError, YAMLError):
        return None
    # Not a list: YAML aliases can expand to more than memory holds.
    return license_name if isinstance(license_name, str) else None
