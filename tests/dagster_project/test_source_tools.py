"""`corpus.sources.*.tools`: which tools annotate a source."""

import json
import shutil
from pathlib import Path

import pytest

from dagster_project.commands.build import build_dataset
from dagster_project.commands.options import RunOptions
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse

TEXTS = (
    ("Snow is expected tomorrow.", "https://a.org/2024/01/08/snow"),
    ("The fair ends on Sunday.", "https://a.org/2024/05/03/fair"),
)
SETTINGS = """
language_model: {{path: {folder}/model, precision: float32}}
corpus:
  sources: [{{path: {folder}/texts.jsonl, tools: [QA]}}]
  held_out_every: 0
"""


@pytest.mark.slow
def test_a_source_that_is_for_other_tools_has_no_calls_of_this_one(
    home: Home, tiny: Path, tmp_path
):
    home.root.mkdir()
    home.settings_file.write_text(SETTINGS.format(folder=tmp_path))
    lines = [json.dumps({"text": text, "url": url}) for text, url in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    shutil.copytree(tiny, tmp_path / "model")
    options = RunOptions.of(["tools.Calendar.prompt=short"], tools=["Calendar"])
    build_dataset(options)
    store = open_warehouse(home)
    selection = store.read_partitions("document_selection", "shard-00000")
    assert selection["reason"].to_list() == ["left_to_other_tools"] * len(TEXTS)
    assert store.read_partitions("candidate_calls", "shard-00000").is_empty()
