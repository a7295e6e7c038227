"""Which models annotate a round and read for QA, and what the card of a finetuned one says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from huggingface_hub import ModelCard

from tests.toolformer.training.tiny import record
from toolformer.base.model_files import RECORD_FILE
from toolformer.errors import ModelNotFoundError, ToolformerError
from toolformer.forward.embedded_model import EMBEDDED_MODEL_NAME
from toolformer.forward.language_model import LanguageModel
from toolformer.home.home import Home
from toolformer.home.wiring import model_cards
from toolformer.home.wiring.model_cards import write_model_card
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.models import Annotator
from toolformer.home.wiring.toolbox import open_reader
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings, validated
from toolformer.sources.manifest import Manifest, ShardEntry


def settings_of(base: Path, annotator: str = "finetuned", *, number: int = 2) -> Settings:
    model = {"path": str(base), "device": "cpu", "precision": "float32"}
    sampling = {"round": number, "annotator": annotator}
    return validated({"language_model": model, "sampling": sampling}, origin="test")


def put_finetuned(home: Home, tiny: Path, number: int, *, seconds: float) -> Path:
    """A checkpoint of a round, as training leaves it."""
    folder = home.finetuned_model(number)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tiny, folder)
    record = {"fingerprint": "same", "result": {"seconds": seconds}}
    (folder / "toolformer.json").write_text(json.dumps(record))
    return folder


def test_finetuned_is_the_checkpoint_of_the_round_before_and_no_newer_one(home: Home, tiny: Path):
    first = put_finetuned(home, tiny, 1, seconds=1.0)
    second, third = settings_of(tiny), settings_of(tiny, number=3)
    before = Annotator.of(Workspace(second, home))
    assert before.location.directory == first
    with pytest.raises(ModelNotFoundError, match=r"finetuned in round 2.*`toolformer train`"):
        Annotator.of(Workspace(third, home))
    put_finetuned(home, tiny, 2, seconds=2.0)
    assert Annotator.of(Workspace(second, home)) == before
    assert Annotator.of(Workspace(third, home)).location.directory == home.finetuned_model(2)
    assert Annotator.of(Workspace(third, home)).identity != before.identity
    # Another checkpoint of round 1 is another annotator.
    put_finetuned(home, tiny, 1, seconds=1.1)
    assert Annotator.of(Workspace(second, home)).location == before.location
    assert Annotator.of(Workspace(second, home)).identity != before.identity


def swap_letters(content: dict) -> None:
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def compose_letters(content: dict) -> None:
    # As Qwen's: an accent behind its letter has no token of its own.
    content["normalizer"] = {"type": "NFC"}


@pytest.mark.parametrize("change", [swap_letters, compose_letters])
def test_an_annotator_with_other_tokens_is_refused(
    home: Home, tiny: Path, tmp_path, change: Callable[[dict], None]
):
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    content = json.loads((other / "tokenizer.json").read_text())
    change(content)
    (other / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelNotFoundError, match="tokenize texts differently"):
        Annotator.of(Workspace(settings_of(tiny, str(other)), home))


def test_a_checkpoint_replaced_while_a_run_waited_is_not_used(home: Home, tiny: Path):
    put_finetuned(home, tiny, 1, seconds=1.0)
    settings, holder = settings_of(tiny), ModelHolder()
    annotator = Annotator.of(Workspace(settings, home))
    put_finetuned(home, tiny, 1, seconds=1.1)
    with pytest.raises(ToolformerError, match="was replaced after this run began"):
        annotator.load(Workspace(settings, home, holder))
    assert holder.loads == 0
    holder.release()


def test_a_model_replaced_while_it_is_loaded_is_not_used(
    home: Home, tiny: Path, tmp_path, monkeypatch
):
    newer, link = tmp_path / "newer", tmp_path / "model"
    shutil.copytree(tiny, newer)
    (newer / "generation_config.json").write_text("{}")
    link.symlink_to(tiny)
    load = LanguageModel.load

    def slowly(directory: Path, **options: Any) -> LanguageModel:
        loaded = load(directory, **options)
        link.unlink()
        link.symlink_to(newer)
        return loaded

    monkeypatch.setattr(LanguageModel, "load", slowly)
    holder = ModelHolder()
    with pytest.raises(ToolformerError, match="replaced while it was being loaded"):
        holder.load(link, settings_of(link).language_model, home)
    monkeypatch.undo()
    assert holder.load(link, settings_of(link).language_model, home).name == link.name
    holder.release()


def test_the_start_token_is_part_of_the_version_where_it_is_set(tmp_path, monkeypatch):
    monkeypatch.setattr("toolformer.home.wiring.models.base_model_directory", lambda *_: tmp_path)

    def version_of(bos_token: str | None) -> str:
        of_model = {"precision": "float32", "device": "cpu", "bos_token": bos_token}
        settings = validated({"language_model": of_model}, origin="test")
        return open_reader(Workspace(settings, Home(tmp_path), ModelHolder())).version()

    assert version_of("<s>") == f"{version_of(None)} bos_token=<s>"


def card_of(
    folder: Path, settings: Settings, base: str = "base", *, began_with: str | None = None
) -> str:
    began = {"base": began_with or Path(base).name}
    (folder / RECORD_FILE).write_text(json.dumps(record() | began))
    with patch.object(model_cards, "base_model_directory", lambda _: folder / base):
        write_model_card(folder, Workspace(settings, Home(folder)))
    return (folder / "README.md").read_text()


def test_the_licence_of_a_source_stands_in_the_card(tmp_path):
    sources = [{"path": "/texts/a.jsonl", "license": "cc-by-4.0"}, {"path": "/texts/b.jsonl"}]
    card = card_of(tmp_path, validated({"corpus": {"sources": sources}}, origin="test"))
    assert "- texts of `a.jsonl`: cc-by-4.0" in card
    assert "- texts of `b.jsonl`: not stated (`license` of the source in toolformer.yaml)" in card


def test_a_source_that_is_not_listed_any_more_and_has_texts_stands_in_the_card(tmp_path):
    entries = [
        ShardEntry(f"shard-{number:05d}", f"/texts/{name}", 0, 1, "", is_held_out=False)
        for number, name in enumerate(("a.jsonl", "b.jsonl", "c.jsonl"))
    ]
    entries[2] = replace(entries[2], status="retired")
    Manifest(next_number=3, shards=entries).save(Home(tmp_path).sources)
    listed = [{"path": "/texts/a.jsonl", "license": "cc-by-4.0"}]
    card = card_of(tmp_path, validated({"corpus": {"sources": listed}}, origin="test"))
    assert card.count("- texts of ") == 2
    assert "- texts of `b.jsonl`: not stated" in card


def test_names_on_a_hub_stand_in_the_head_of_the_card(tmp_path):
    paths = ["hf://datasets/ada/texts@v2/a/*.jsonl", "hf://datasets/ada/more/b.jsonl", "/c.jsonl"]
    settings = validated({"corpus": {"sources": [{"path": path} for path in paths]}}, origin="test")
    head = ModelCard(card_of(tmp_path, settings, "models--Qwen--Qwen3-0.6B/snapshots/c1")).data
    assert (head.base_model, head.datasets) == ("Qwen/Qwen3-0.6B", ["ada/more", "ada/texts"])
    head = ModelCard(card_of(tmp_path, Settings(), EMBEDDED_MODEL_NAME)).data
    assert (head.base_model, head.datasets) == ("HuggingFaceTB/SmolLM2-135M-Instruct", None)


def test_the_card_says_nothing_of_another_model_that_the_settings_name_by_now(tmp_path):
    card = card_of(tmp_path, Settings(), EMBEDDED_MODEL_NAME, began_with="another")
    head = ModelCard(card).data
    assert (head.base_model, head.license) == (None, "unknown")
    assert "- base model `another`: not stated" in card


_ALIASES = "a: &a [x, x]\nb: &b [*a, *a]\nlicense: [*b, *b]"


@pytest.mark.parametrize("head", [_ALIASES, "license: " + "[" * 3_000, "5: mit"])
def test_a_base_models_card_that_cannot_be_understood_names_no_licence(tmp_path, head: str):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text(f"---\n{head}\n---\n")
    assert "license: unknown" in card_of(tmp_path, Settings())
