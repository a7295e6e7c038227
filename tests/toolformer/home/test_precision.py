"""What `precision: auto` was measured to be: written once, read by all, shown."""

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolformer.forward import precision
from toolformer.forward.precision import PrecisionChoice
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings, validated
from toolformer.home.wiring import precision as records
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.precision import (
    ANNOTATION,
    MeasuredPrecision,
    settled_precision,
    training_precision,
)
from toolformer.home.wiring.settled import read_settled
from warehouse.errors import StoreConflictError

IN_FLOAT32 = PrecisionChoice("float32", 612.0, 340.0)
IN_BFLOAT16 = PrecisionChoice("bfloat16", 100.0, 400.0)


@pytest.fixture
def model(tiny: Path) -> Path:
    records.tell_once.cache_clear()
    return tiny


def settings_of(model: Path) -> Settings:
    given = {"language_model": {"path": str(model), "device": "cpu"}}
    return validated(given, origin="test")


def settle(
    home: Home, model: Path, choice: PrecisionChoice = IN_FLOAT32, *, device: str = "cpu"
) -> MeasuredPrecision:
    return settled_precision(ANNOTATION, model, device, home, lambda: choice)


def recorded(home: Home) -> list[MeasuredPrecision]:
    files = sorted(home.precisions.glob("*.json"))
    found = [read_settled(file, MeasuredPrecision) for file in files]
    return [record for record in found if record is not None]


def never() -> PrecisionChoice:
    pytest.fail("measured")


def test_what_was_measured_is_read_afterwards(home: Home, model: Path):
    assert recorded(home) == []
    record = settle(home, model)
    assert record.choice == IN_FLOAT32
    assert record.measured_on.startswith(precision.name_of_device("cpu"))
    again = Home(home.root)
    assert settled_precision(ANNOTATION, model, "cpu", again, never) == record
    assert recorded(again) == [record]


def test_of_two_processes_at_once_one_measures(home: Home, model: Path):
    meeting, measured = threading.Barrier(2, timeout=60), []

    def use(_: int) -> MeasuredPrecision:
        def measuring() -> PrecisionChoice:
            measured.append(1)
            return IN_BFLOAT16

        meeting.wait()
        return settled_precision(ANNOTATION, model, "cpu", home, measuring)

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(use, range(2)))
    assert len(measured) == 1
    assert [each.choice for each in found] == [IN_BFLOAT16] * 2


def test_of_two_machines_that_measure_at_once_the_first_one_counts(
    home: Home, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = settle(home, model, IN_BFLOAT16)

    def refuse(_: Home, file: Path) -> None:
        shutil.copyfile(home.precisions / file.name, file)
        raise StoreConflictError

    monkeypatch.setattr(Home, "publish", refuse)
    assert settle(Home(tmp_path / "second"), model, IN_FLOAT32) == first


def test_training_and_another_device_have_choices_of_their_own(
    home: Home, model: Path, monkeypatch: pytest.MonkeyPatch
):
    settle(home, model)
    monkeypatch.setattr(records, "name_of_device", lambda device: f"Card {device}/80 GB")
    settle(home, model, IN_BFLOAT16, device="cuda:1")
    found = {each.device: each.choice for each in recorded(home)}
    assert found == {"cpu": IN_FLOAT32, "Card cuda:1/80 GB": IN_BFLOAT16}


@pytest.mark.parametrize("content", ["", "[]", '{"purpose": "annotation"}'])
def test_a_damaged_record_is_measured_again(home: Home, model: Path, content: str):
    settle(home, model)
    (file,) = home.precisions.iterdir()
    file.write_text(content)
    assert settle(home, model, IN_BFLOAT16).choice == IN_BFLOAT16
    assert json.loads(file.read_text())["choice"]["precision"] == "bfloat16"


# The model itself


@pytest.fixture
def holder() -> Iterator[ModelHolder]:
    made = ModelHolder()
    yield made
    made.release()


def test_the_first_use_measures_with_the_model_and_keeps_the_faster(
    home: Home,
    model: Path,
    holder: ModelHolder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(precision, "has_bfloat16_instructions", lambda: True)
    caplog.set_level("INFO")
    loaded = holder.load(model, settings_of(model), home)
    (record,) = recorded(home)
    assert loaded.choice == record.choice
    assert loaded.precision == record.choice.precision
    assert min(record.choice.float32 or 0, record.choice.bfloat16 or 0) > 0
    assert holder.load(model, settings_of(model), home) is loaded
    assert holder.loads == 2
    assert caplog.text.count(record.summary) == 1


def test_the_copy_in_the_other_precision_stands_beside_the_model(
    home: Home, model: Path, holder: ModelHolder
):
    settle(home, model, IN_FLOAT32)
    settings = settings_of(model)
    loaded = holder.load(model, settings, home)
    assert holder.load_in("float32", model, settings, home) is loaded
    copy = holder.load_in("bfloat16", model, settings, home)
    assert copy.precision == "bfloat16"
    assert holder.load_in("bfloat16", model, settings, home) is copy
    assert holder.load(model, settings, home) is loaded


def test_training_is_measured_by_a_step_and_kept_apart(
    home: Home, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision, "has_bfloat16_instructions", lambda: True)
    settings = settings_of(model)
    chosen = training_precision(settings, model, "cpu", home)
    (record,) = recorded(home)
    assert (record.purpose, record.choice.precision) == ("training", chosen)
    assert record.choice.float32
    assert record.choice.bfloat16
    named = validated({"training": {"precision": "bfloat16"}}, origin="test")
    assert training_precision(named, model, "cpu", home) == "bfloat16"
