"""The least probability of calls, calibrated for a tiny model on a handful of texts."""

import json
from pathlib import Path

import dagster as dg
import pytest

from assets.training.call_threshold import call_threshold
from assets.training.development_texts import development_texts
from dagster_project.fingerprints import FINGERPRINT
from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from tests.assets.training.conftest import metadata_of
from tests.fakes import byte_tokenizer, tiny_model
from tests.toolformer.training.test_model_card import record
from tests.warehouse.rows import CALL, SHARD, frame
from toolformer.decoding.call_chances import call_chances
from toolformer.decoding.call_threshold import (
    ReadText,
    choose_call_threshold,
    read_call_threshold,
)
from toolformer.forward.windows import split_into_windows
from toolformer.training.finetuning import RECORD_FILE
from toolformer.training.training_set import is_for_development
from toolformer.training.variants import VARIANTS
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

SHARE, K, WINDOW_TOKENS = 0.5, 300, 24
TEXT = "Six crates of 24 make 144 bottles, of which 12 were broken."
OVERRIDES = {
    "corpus": {"window_tokens": WINDOW_TOKENS},
    "decoding": {"call_top_k": K, "least_call_probability": None},
    "training": {"development_share": SHARE},
}
_NAMES = [f"d{number}" for number in range(60)]
HELD_BACK = [name for name in _NAMES if is_for_development(name, SHARE)]
TRAINED_ON = [name for name in _NAMES if name not in HELD_BACK][:3]
# With a kept call in the first window; the others hold none.
WITH_CALLS, PLAIN, LEFT_OUT = HELD_BACK[:9], HELD_BACK[9], HELD_BACK[10]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    home = Home(tmp_path)
    store = Warehouse(home.warehouse, home.database)
    store.prepare()
    windows = list(windows_of("any"))
    assert len(windows) == 3
    texts = [
        {
            "document_id": name,
            "window": 0,
            "shard": SHARD,
            "split": "development" if name in WITH_CALLS else "train",
            "text": windows[0].text,
            "calls": [CALL | {"call_id": name, "position": 4, "character_offset": 4}],
            "dropped_calls": [],
        }
        for name in (*WITH_CALLS, *TRAINED_ON)
    ]
    excluded = [{"document_id": LEFT_OUT, "window": number, "shard": SHARD} for number in (0, 1)]
    documents = [
        {"document_id": name, "text": TEXT, "shard": SHARD, "source_offset": number}
        for number, name in enumerate((*WITH_CALLS, *TRAINED_ON, PLAIN, LEFT_OUT))
    ]
    for table, shard, rows in (
        ("training_texts", ALL, texts),
        ("training_exclusions", ALL, excluded),
        ("documents", SHARD, documents),
    ):
        made = frame(table, *rows)
        store.replace_slice(table, shard, ALL, made, metadata={FINGERPRINT: table})
    model = tiny_model(context_length=256)
    for variant in ("base", *VARIANTS):
        folder = tmp_path / "base" if variant == "base" else home.finetuned_model(1, variant)
        model.model.save_pretrained(folder)
        model.tokenizer.backend.save_pretrained(folder)
        if variant != "base":
            (folder / RECORD_FILE).write_text(json.dumps(record(variant)))
    return home


def windows_of(name: str):
    return split_into_windows(name, TEXT, byte_tokenizer(), window_tokens=WINDOW_TOKENS)


def calibrated(home: Home, variant: str = "calls", *, k: int = K) -> dict:
    overrides = {
        **OVERRIDES,
        "language_model": {"path": str(home.root / "base"), "device": "cpu"},
        "decoding": {"call_top_k": k},
    }
    return metadata_of(call_threshold, overrides, partition=variant)


def test_texts_without_calls_are_the_held_back_windows_in_which_nothing_was_kept(home: Home):
    store = Warehouse(home.warehouse, home.database)
    settings = Settings.model_validate(OVERRIDES)
    texts = development_texts(store, [SHARD], byte_tokenizer(), settings)
    found = {(text.window.document_id, text.window.index): text.call_positions for text in texts}
    assert len(found) == len(texts)
    assert {key for key, calls in found.items() if calls} == {(name, 0) for name in WITH_CALLS}
    assert {key for key, calls in found.items() if not calls} == {
        *((name, number) for name in WITH_CALLS for number in (1, 2)),
        *((PLAIN, number) for number in range(3)),
        (LEFT_OUT, 2),
    }
    windows = {window.index: window for window in windows_of("any")}
    for text in texts:
        assert text.window.ids == windows[text.window.index].ids


def test_the_value_is_the_one_that_the_models_own_probabilities_choose(home: Home):
    directory = home.finetuned_model(1)
    identity = model_identity(directory)
    said = calibrated(home)
    chosen = read_call_threshold(directory)
    assert chosen is not None
    store = Warehouse(home.warehouse, home.database)
    texts = development_texts(store, [SHARD], byte_tokenizer(), Settings.model_validate(OVERRIDES))
    model = tiny_model(context_length=256)
    chances = call_chances(
        model,
        [text.window for text in texts],
        call_top_k=K,
        token_budget=64,
        progress=lambda done, total: None,
    )
    literal = choose_call_threshold(
        [
            ReadText(of_text, text.call_positions)
            for of_text, text in zip(chances, texts, strict=True)
        ],
        call_top_k=K,
    )
    assert chosen.least_call_probability == pytest.approx(literal.least_call_probability, rel=1e-4)
    assert (chosen.texts_with_calls, chosen.texts_without_calls) == (9, 22)
    assert said["state"] == "done"
    assert said["least call probability"] == chosen.least_call_probability
    assert "data:image/png" in said["calls by threshold"]
    assert chosen.told in (directory / "README.md").read_text()
    # How it is decoded makes it no other model, and nothing is made twice.
    assert model_identity(directory) == identity
    assert calibrated(home)["state"] == "up to date"
    assert calibrated(home, k=2)["state"] == "done"
    assert json.loads((directory / "call_threshold.json").read_text())["call_top_k"] == 2


def test_a_control_without_calls_has_no_value_and_says_so(home: Home):
    said = calibrated(home, "plain")
    assert said["least call probability"] == "none"
    assert "trained without calls" in said["reason"]
    chosen = read_call_threshold(home.finetuned_model(1, "plain"))
    assert chosen is not None
    assert chosen.least_call_probability is None


def test_without_a_model_the_command_that_trains_one_is_named(home: Home):
    (home.finetuned_model(1) / "model.safetensors").unlink()
    with pytest.raises(dg.Failure) as failed:
        calibrated(home)
    assert "`toolformer train --variant calls`" in str(failed.value.description)
