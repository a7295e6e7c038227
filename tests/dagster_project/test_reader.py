"""What the reader of QA is told apart by: its answers are kept under its version."""

from pathlib import Path

import pytest

from dagster_project.home import Home
from dagster_project.settings.sections import validated
from dagster_project.wiring import reader
from dagster_project.wiring.model_holder import ModelHolder


def test_the_start_token_is_part_of_the_version_where_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "base_model_directory", lambda *_: tmp_path)

    def version_of(bos_token: str | None) -> str:
        of_model = {"precision": "float32", "device": "cpu", "bos_token": bos_token}
        settings = validated({"language_model": of_model}, origin="test")
        return reader.open_reader(settings, Home(tmp_path), ModelHolder()).version()

    assert version_of("<s>") == f"{version_of(None)} bos_token=<s>"
