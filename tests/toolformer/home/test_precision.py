"""Which precision the model of a process is held in."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from toolformer.errors import OverflowingModelError
from toolformer.home.home import Home
from toolformer.home.wiring import model_holder
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.settings.sections import Settings, validated


def settings_of(model: Path, precision: str = "auto") -> Settings:
    given = {"path": str(model), "device": "cpu", "precision": precision}
    return validated({"language_model": given}, origin="test")


@pytest.fixture
def holder() -> Iterator[ModelHolder]:
    made = ModelHolder()
    yield made
    made.release()


def test_another_model_beside_the_one_that_is_held_is_never_taken_for_it(
    home: Home, tiny: Path, tmp_path, holder: ModelHolder
):
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    settings = settings_of(tiny, "bfloat16")
    loaded = holder.load(tiny, settings.language_model, home)
    beside = holder.load_second_model(other, settings.language_model, home, precision="float32")
    assert (beside.name, beside.precision) == ("other", "float32")
    assert (
        holder.load_second_model(other, settings.language_model, home, precision="float32")
        is beside
    )
    assert holder.load(tiny, settings.language_model, home) is loaded


def test_a_model_that_overflows_in_float16_is_held_in_bfloat16(
    home: Home, tiny: Path, tmp_path, holder: ModelHolder, monkeypatch
):
    """This processor chooses as a graphics card does."""
    monkeypatch.setattr(
        model_holder, "automatic_precisions", lambda _: ["float16", "bfloat16", "float32"]
    )
    assert holder.load(tiny, settings_of(tiny).language_model, home).precision == "float16"
    large = tmp_path / "large"
    shutil.copytree(tiny, large)
    weights = load_file(large / "model.safetensors")
    weights["lm_head.weight"] *= 1e5
    save_file(weights, large / "model.safetensors", metadata={"format": "pt"})
    loaded = holder.load(large, settings_of(large).language_model, home)
    assert loaded.precision == "bfloat16"
    assert holder.load(large, settings_of(large).language_model, home) is loaded
    assert holder.loads == 3
    with pytest.raises(OverflowingModelError, match="overflow in float16"):
        holder.load(large, settings_of(large, "float16").language_model, home)
