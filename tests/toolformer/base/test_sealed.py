"""A flipped bit in a file with a digest of itself is refused, or changes nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.base.sealed import DIGEST, sealed, unsealed
from toolformer.decoding.calibration import (
    CalibratedProbability,
    min_call_probability_text,
    read_min_call_probability,
)
from toolformer.decoding.opening_thresholds import Opening
from toolformer.errors import CheckpointError, ToolformerError
from toolformer.home.settings.corpus_sections import SourceSettings
from toolformer.home.settings.errors import SettingsError
from toolformer.home.settings.source_file import read_sources, sources_file, write_added_sources
from toolformer.sources.errors import ManifestError
from toolformer.sources.manifest import Manifest, ShardEntry, manifest_path
from toolformer.training.training_state import (
    PROGRESS_FILE,
    DevelopmentLoss,
    Progress,
    StepReport,
    TrainingState,
)

CHOSEN = CalibratedProbability(
    *(0.0116, 0.0016, None, 10, 8, 2, 9, 200),
    (Opening(0.0116, 0.5, True), Opening(0.0002, -0.25, False, 12)),
    {"fingerprint": "f"},
)
STEP = StepReport(
    step=1,
    loss=2.5,
    learning_rate=1e-5,
    tokens=9,
    development_perplexity=7.25,
    development_loss=2.25,
)
PROGRESS = Progress(DevelopmentLoss(3.5, 2.5), 1.5, DevelopmentLoss(2.75, 1.75), [STEP])


def put_manifest(folder: Path) -> Path:
    entry = ShardEntry("shard-00003", "texts.jsonl", 0, 7, "d1", is_held_out=False)
    Manifest(4, {"texts.jsonl": "i1"}, [entry]).save(folder)
    return manifest_path(folder)


def put_sources(folder: Path) -> Path:
    source = SourceSettings.model_validate({"path": "/texts/ä.jsonl", "shard_size": 12})
    write_added_sources(folder / "toolformer.yaml", [source])
    return sources_file(folder / "toolformer.yaml")


def put_no_sources(folder: Path) -> Path:
    write_added_sources(folder / "toolformer.yaml", [])
    return sources_file(folder / "toolformer.yaml")


def put_probability(folder: Path) -> Path:
    file = folder / MIN_CALL_PROBABILITY_FILE
    file.write_text(min_call_probability_text(CHOSEN))
    return file


def put_progress(folder: Path) -> Path:
    TrainingState(folder, fingerprint="f")
    state = folder / "state-00000001"
    state.mkdir()
    (state / PROGRESS_FILE).write_text(json.dumps(sealed(asdict(PROGRESS))))
    return state / PROGRESS_FILE


# How each file is written in a folder and read again, with the error for a damaged one.
FILES: dict[
    str, tuple[Callable[[Path], Path], Callable[[Path], Any], tuple[type[Exception], ...]]
] = {
    "manifest": (put_manifest, Manifest.load, (ManifestError,)),
    "sources": (
        put_sources,
        lambda folder: read_sources(folder / "sources.json"),
        (SettingsError,),
    ),
    "no sources": (put_no_sources, lambda at: read_sources(at / "sources.json"), (SettingsError,)),
    "probability": (put_probability, read_min_call_probability, (ToolformerError,)),
    "progress": (
        put_progress,
        lambda folder: TrainingState(folder, fingerprint="f").load_progress(),
        (CheckpointError,),
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_each_flipped_bit_is_refused_or_changes_nothing(kind: str, tmp_path):
    put, read, refused = FILES[kind]
    file = put(tmp_path)
    content, expected = file.read_bytes(), read(tmp_path)
    assert expected is not None
    # Every byte, each with another bit; of the end all bits.
    size = len(content)
    flips = {(place, place % 8) for place in range(size)}
    flips |= {(place, bit) for place in range(size - 80, size) for bit in range(8)}
    refusals = 0
    for place, bit in sorted(flips):
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        file.write_bytes(changed)
        try:
            found = read(tmp_path)
        except refused:
            found = None
        refusals += found is None
        assert found in (None, expected), bytes(changed[max(place - 9, 0) : place + 9])
    # Comments and white space are none of the content.
    assert refusals > 300


@pytest.mark.parametrize("kind", FILES)
def test_a_digit_that_was_edited_is_told_and_taken_without_the_digest(kind: str, tmp_path):
    put, read, refused = FILES[kind]
    file = put(tmp_path)
    before = read(tmp_path)
    text = file.read_text()
    edits = {"sources": ("12", "13"), "no sources": ("[]", '[{"path": "starter"}]')}
    edits["probability"] = ("0.0116", "0.8116")
    edited = text.replace(*edits.get(kind, ("7", "9")))
    file.write_text(edited)
    with pytest.raises(refused, match=r"was altered.*remove its entry `digest`"):
        read(tmp_path)
    file.write_text(json.dumps({**json.loads(edited), DIGEST: None}))
    assert read(tmp_path) not in (None, before)


@pytest.mark.parametrize("content", [None, [], "text", {}, {"a": 1, "b": 2}, {"a": 1, "digset": 2}])
def test_content_with_other_entries_is_refused(content: object):
    with pytest.raises(ValueError, match="does not have the entries a"):
        unsealed(content, ["a"])
