"""`toolformer prompts compare`, and how the word `short` of the settings reaches sampling."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from dagster_project.commands import console
from dagster_project.commands.building import build_dataset
from dagster_project.commands.options import RunOptions
from toolformer_home.home import Home
from toolformer_home.settings.sections import validated
from toolformer_home.wiring.toolbox import open_toolbox
from toolformer_home.wiring.warehouse import open_warehouse
from tools.prompting import load_prompt, load_short_prompt

TEXTS = (
    ("Snow is expected tomorrow.", "https://a.org/2024/01/08/snow"),
    ("The fair ends on Sunday.", "https://a.org/2024/05/03/fair"),
    ("It was built in 2016.", "https://a.org/2023/11/20/mill"),
    ("This shard is held out.", "https://a.org/2022/02/02/none"),
)
K = 2
SETTINGS = """
language_model: {{path: {folder}/model, precision: float32}}
corpus:
  sources: [{{path: {folder}/texts.jsonl, shard_size: 3}}]
  window_tokens: 64
  held_out_every: 2
scoring: {{rescoring: false, lowest_threshold: 0}}
tools:
  Calendar: {{sampling_threshold: 0, positions_per_text: {k}, filtering_threshold: 0}}
"""


@pytest.fixture
def home(home: Home, tmp_path: Path) -> Home:
    home.root.mkdir()
    home.settings_file.write_text(SETTINGS.format(folder=home.root.parent, k=K))
    lines = [json.dumps({"text": text, "url": url}) for text, url in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    return home


@pytest.mark.slow
def test_prompts_are_compared_by_what_a_build_would_keep_and_nothing_is_stored(
    home: Home, run, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(tiny, home.root.parent / "model")
    shown: list[pl.DataFrame] = []
    with monkeypatch.context() as patch:
        patch.setattr(console, "frame", shown.append)
        code, out, err = run(
            "prompts", "compare", "default", "short", "--tool", "Calendar", "--texts", "5"
        )
        assert code == 0, err
        # The text of the held-out shard is none of them.
        assert "Calendar on 3 texts (there are no 5): k = 2" in out
        # Only the texts are there, from cutting the corpus.
        stored = {path.parent.name for path in home.warehouse.glob("*/shard=shard-*")}
        assert stored == {"documents", "reading_losses", "rejected_records"}
        (rows,) = shown
        assert rows["prompt"].to_list() == ["default", "short"]
        assert rows["prompt tokens"].is_sorted(descending=True)
        for row in rows.iter_rows(named=True):
            # A call without arguments is settled: one sample at each place.
            counts = [row[name] for name in ("samples", "candidates", "executed, scored")]
            assert counts == [K * 3] * 3
            assert row["kept share"] == row["kept"] / (K * 3)
            assert row["kept per 1000 candidates"] == pytest.approx(1000 * row["kept share"])
            # Of all calls, so that it is of as many.
            assert row["chance share"] * K * 3 == pytest.approx(round(row["chance share"] * K * 3))
        options = RunOptions.of(None, ["tools.Calendar.prompt=short"], tools=["Calendar"])
        build_dataset(options, shards=["shard-00000"], dry_run=False)
        built = open_warehouse(home).read_partitions("filtered_calls", "shard-00000")
        assert 0 < built["is_kept"].sum() == rows["kept"][1]

    # With the shards there: a tool that proposes its calls, and one that no text suits.
    changes = ("--texts", "1", "--set", "sampling.proposals=calls")
    code, out, _ = run("prompts", "compare", "short", "--tool", "Calendar", *changes)
    assert (code, "so prompts hardly differ" in out) == (0, True)
    code, _, err = run("prompts", "compare", "short", "--tool", "Calculator")
    assert (code, "Calculator preselects no text" in err) == (1, True)

    # A source that is for other tools has no calls of this one.
    text = home.settings_file.read_text()
    home.settings_file.write_text(text.replace("shard_size: 3", "shard_size: 3, tools: [QA]"))
    code, _, err = run("prompts", "compare", "short", "--tool", "Calendar")
    assert (code, "Calendar preselects no text" in err) == (1, True)
    build_dataset(options, shards=["shard-00000"], dry_run=False)
    store = open_warehouse(home)
    selection = store.read_partitions("document_selection", "shard-00000")
    assert selection["reason"].to_list() == ["left_to_other_tools"] * 3
    assert store.read_partitions("candidate_calls", "shard-00000").is_empty()


@pytest.mark.parametrize(
    ("named", "prompt"),
    [("short", load_short_prompt("Calculator")), (None, load_prompt("Calculator"))],
)
def test_the_short_prompt_is_the_one_that_is_sampled_with(home: Home, named, prompt: str):
    settings = validated({"tools": {"Calculator": {"prompt": named}}}, origin="test")
    assert open_toolbox(settings, home, named=["Calculator"]).prompts == {"Calculator": prompt}
