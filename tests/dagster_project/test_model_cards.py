import json
from pathlib import Path

import pytest

from dagster_project.settings.sections import Settings, validated
from dagster_project.wiring.model_cards import write_model_card
from tests.toolformer.training.test_model_card import record
from toolformer.training.finetuning import RECORD_FILE


def card_of(folder: Path, settings: Settings) -> str:
    (folder / RECORD_FILE).write_text(json.dumps(record()))
    write_model_card(folder, folder / "base", settings)
    return (folder / "README.md").read_text()


def test_the_licence_of_a_source_stands_in_the_card(tmp_path: Path):
    sources = [{"path": "/texts/a.jsonl", "license": "cc-by-4.0"}, {"path": "/texts/b.jsonl"}]
    card = card_of(tmp_path, validated({"corpus": {"sources": sources}}, origin="test"))
    assert "- texts of `a.jsonl`: cc-by-4.0" in card
    assert "- texts of `b.jsonl`: not stated (`license` of the source in toolformer.yaml)" in card


_ALIASES = "a: &a [x, x]\nb: &b [*a, *a]\nlicense: [*b, *b]"


@pytest.mark.parametrize("head", [_ALIASES, "license: " + "[" * 3_000, "5: mit"])
def test_a_base_models_card_that_cannot_be_understood_names_no_licence(tmp_path: Path, head: str):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text(f"---\n{head}\n---\n")
    assert "license: unknown" in card_of(tmp_path, Settings())
