"""A JSON file of the program that cannot be used is an error that names it and what to do."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import (
    CalibratedProbability,
    min_call_probability_text,
    read_min_call_probability,
)
from toolformer.decoding.opening_thresholds import Opening
from toolformer.errors import CheckpointError, ToolformerError
from toolformer.settings.corpus_sections import SourceSettings
from toolformer.settings.errors import SettingsError
from toolformer.settings.source_file import read_sources, sources_file, write_added_sources
from toolformer.sources.errors import ManifestError
from toolformer.sources.manifest import Manifest, ShardEntry, manifest_path
from toolformer.training.progress import DevelopmentLoss, Progress, StepReport
from toolformer.training.training_state import TrainingState

CHOSEN = CalibratedProbability(
    *(0.0116, 0.0016, None, 10, 8, 2, 9, 200),
    (Opening(0.0116, 0.5, True), Opening(0.0002, -0.25, False, 12)),
    {"fingerprint": "f"},
)
STEP = StepReport(1, 2.5, 1e-5, 9, 7.25, 2.25)
PROGRESS = Progress(DevelopmentLoss(3.5, 2.5), 1.5, DevelopmentLoss(2.75, 1.75), [STEP])


def put_manifest(folder: Path) -> Path:
    entry = ShardEntry("shard-00003", "texts.jsonl", 0, 7, "d1", is_held_out=False)
    Manifest(4, {"texts.jsonl": "i1"}, [entry]).save(folder)
    return manifest_path(folder)


def put_sources(folder: Path) -> Path:
    source = SourceSettings.model_validate({"path": "/texts/ä.jsonl", "shard_size": 12})
    write_added_sources(folder / "toolformer.yaml", [source])
    return sources_file(folder / "toolformer.yaml")


def put_probability(folder: Path) -> Path:
    file = folder / MIN_CALL_PROBABILITY_FILE
    file.write_text(min_call_probability_text(CHOSEN))
    return file


def put_progress(folder: Path) -> Path:
    TrainingState(folder, fingerprint="f")
    file = folder / "state-00000001" / "progress.json"
    file.parent.mkdir()
    file.write_text(json.dumps(asdict(PROGRESS)))
    return file


def read_progress(folder: Path) -> Progress | None:
    return TrainingState(folder, fingerprint="f").load_progress()


# How each file is written into a folder and read again, its error, and a word of the remedy.
FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any], type[Exception], str]] = {
    "manifest": (put_manifest, Manifest.load, ManifestError, "Restore it from a backup"),
    "sources": (
        put_sources,
        lambda folder: read_sources(folder / "sources.json"),
        SettingsError,
        "Correct it",
    ),
    "probability": (put_probability, read_min_call_probability, ToolformerError, "Delete it"),
    "progress": (put_progress, read_progress, CheckpointError, "Remove"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_torn_or_lacks_an_entry_is_refused(kind: str, tmp_path):
    put, read, error, remedy = FILES[kind]
    file = put(tmp_path)
    whole = file.read_bytes()
    assert read(tmp_path) is not None
    content = json.loads(whole)
    damages = [b"", b"\xff", b"[]", b"7", bytes(len(whole)), whole[:20], whole[:-3]]
    damages += [json.dumps({**content, name: 7.5}).encode() for name in list(content)[-1:]]
    for name in content:
        damages.append(json.dumps({k: v for k, v in content.items() if k != name}).encode())
    for damage in damages:
        file.write_bytes(damage)
        with pytest.raises(error, match=remedy) as raised:
            read(tmp_path)
        assert str(file if kind != "progress" else file.parent) in str(raised.value)
        assert "\n" not in str(raised.value)
    file.write_bytes(whole)
    assert read(tmp_path) is not None


def test_what_is_written_is_read_back(tmp_path):
    put_probability(tmp_path)
    assert read_min_call_probability(tmp_path) == CHOSEN
    put_progress(tmp_path)
    assert read_progress(tmp_path) == PROGRESS


def test_a_manifest_of_another_version_is_refused(tmp_path):
    file = put_manifest(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 2}))
    with pytest.raises(ManifestError, match="version: Input should be 1"):
        Manifest.load(tmp_path)
