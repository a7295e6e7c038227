"""`toolformer doctor --model`: what it says of a folder, and when it ends with 1."""

import json

import pytest

from tests.dagster_project.command_line import run_command
from tests.fakes import TOKENIZERS, save_tiny_model
from toolformer.forward.attention_masks import AttentionKinds

ROWS = (
    *("model", "served by", "start token", "context", "precision", "memory to annotate"),
    *("memory to train", "plain transformers"),
)


@pytest.fixture
def small_home(home):
    home.root.mkdir()
    home.settings_file.write_text(
        "language_model:\n  precision: float32\ncorpus:\n  window_tokens: 64\n"
        "tools:\n  MT:\n    is_enabled: false\n"
    )
    return home


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "own-model", context_length=4096)


def findings(capsys, path) -> dict[str, dict]:
    outcome = run_command(capsys, "doctor", "--model", path, "--json")
    assert outcome.code == 0, outcome.err
    return {row["name"]: row for row in json.loads(outcome.out)}


def test_a_sound_model_is_described_and_ends_with_0(small_home, folder, capsys):
    rows = findings(capsys, folder)
    assert tuple(rows) == ROWS
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert "LlamaForCausalLM" in rows["model"]["detail"]
    assert "shared keys" in rows["served by"]["detail"]
    assert rows["context"]["detail"] == "4,096 tokens"
    assert rows["start token"]["detail"] == "'<|endoftext|>' before all texts except prompts"


def test_a_start_token_that_the_tokenizer_puts_itself_stands_in_prompts(
    small_home, tmp_path, capsys
):
    tokenizer = TOKENIZERS["pieces without prefix"]()
    path = save_tiny_model(tmp_path / "pieces", context_length=4096, tokenizer=tokenizer)
    assert "all texts and prompts" in findings(capsys, path)["start token"]["detail"]


def test_a_model_with_a_broken_mask_ends_with_one_sentence(small_home, folder, capsys, monkeypatch):
    masks = AttentionKinds.masks

    def see_all(self, visible, *others, **named):
        # The rows with which a model is tried when it is loaded are shorter.
        is_probe = visible.shape[-1] < 20
        return masks(self, visible if is_probe else visible | True, *others, **named)

    monkeypatch.setattr(AttentionKinds, "masks", see_all)
    outcome = run_command(capsys, "--quiet", "doctor", "--model", folder)
    assert outcome.is_one_paragraph_naming("differs from plain transformers", "inline losses")
    assert "shared keys" in outcome.out


@pytest.mark.parametrize(
    ("made", "said"), [(None, "There is no model directory"), ("config.json", "has no a tokenizer")]
)
def test_what_is_no_model_is_one_sentence(small_home, tmp_path, capsys, made, said):
    path = tmp_path / "not-a-model"
    if made:
        path.mkdir()
        (path / made).write_text("{}")
    outcome = run_command(capsys, "doctor", "--model", path)
    assert outcome.is_one_paragraph_naming(said, str(path))


def test_the_embedded_model_is_named_without_a_path(small_home, folder, capsys, monkeypatch):
    monkeypatch.setattr(
        "toolformer.forward.embedded_model.ensure_embedded_model", lambda _folder: folder
    )
    detail = findings(capsys, "embedded")["plain transformers"]["detail"]
    assert detail.startswith("largest differences: call probability")
