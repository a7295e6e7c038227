"""Which model annotates a round, and what happens when it is not there or not the same."""

import json
import shutil
from pathlib import Path

import pytest

from dagster_project.home import Home
from dagster_project.settings.sections import Settings, validated
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.model_holder import ModelHolder
from toolformer.errors import ModelNotFoundError, ToolformerError


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
    before = Annotator.of(second, home)
    assert before.directory == first
    with pytest.raises(ModelNotFoundError, match=r"finetuned in round 2.*`toolformer train`"):
        Annotator.of(third, home)
    put_finetuned(home, tiny, 2, seconds=2.0)
    assert Annotator.of(second, home) == before
    assert Annotator.of(third, home).directory == home.finetuned_model(2)
    assert Annotator.of(third, home).identity != before.identity
    # Another checkpoint of round 1 is another annotator.
    put_finetuned(home, tiny, 1, seconds=1.1)
    assert Annotator.of(second, home).directory == before.directory
    assert Annotator.of(second, home).identity != before.identity


def test_an_annotator_with_other_tokens_is_refused(home: Home, tiny: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelNotFoundError, match="another vocabulary"):
        Annotator.of(settings_of(tiny, str(other)), home)


def test_a_checkpoint_replaced_while_a_run_waited_is_not_used(home: Home, tiny: Path):
    put_finetuned(home, tiny, 1, seconds=1.0)
    settings, holder = settings_of(tiny), ModelHolder()
    annotator = Annotator.of(settings, home)
    put_finetuned(home, tiny, 1, seconds=1.1)
    with pytest.raises(ToolformerError, match="replaced by another"):
        annotator.load(holder, settings, home)
    assert holder.loads == 0
    holder.release()
