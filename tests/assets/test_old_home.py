"""A home that earlier code made is read, found up to date, and built on by the code of today."""

import re
from pathlib import Path
from statistics import median

import polars as pl
import pytest

from dagster_project.expected_errors import RunFailedError
from dagster_project.fingerprints import CODE_VERSIONS, prompt_digest
from dagster_project.runs.run_job import dagster_instance, run_job
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from tests.warehouse.rows import frame
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.ground.kept_digests import DIGESTS_FILE
from toolformer.sources.manifest import Manifest
from tools.prompting import load_prompt
from warehouse.needs import STATISTICS_VIEWS, needs_of
from warehouse.schema import ALL, tables

# Seconds each; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

OLD_HOME = Path(__file__).parents[1] / "old_home" / "home"
# It converted the embedded model, and is named in the model's files.
TRANSFORMERS_VERSION = "5.23.0"
TOOLS = ("Calculator", "Calendar")
# What the code that made the home counted in it.
KEPT = {"Calculator": 16, "Calendar": 17}
MERGED = {"Calculator": 10, "Calendar": 17}
# Nothing was rejected, no model was trained, and what was left out of training was not listed; nor
# were prompts stored.
WITHOUT_ROWS = {
    "prompts",
    *("rejected_records", "training_metrics", "training_exclusions"),
    *("score_intervals", "paired_differences"),
}


@pytest.fixture
def home(copy_of: MakeHome, monkeypatch: pytest.MonkeyPatch) -> PipelineHome:
    # Its texts spell no special token, which alone tells its rows from those of the next version.
    monkeypatch.setitem(CODE_VERSIONS, "candidate_calls", "2")
    copy = copy_of(PipelineHome(OLD_HOME))
    # As every command does first.
    copy.warehouse.prepare()
    return copy


@pytest.fixture
def home_with_model(home: PipelineHome, embedded_model_path: Path) -> PipelineHome:
    """With the model that the old home converted: its files name the version that wrote them."""
    directory = embedded_model_directory(home.home.models)
    directory.mkdir(parents=True)
    for file in embedded_model_path.iterdir():
        if file.name in ("config.json", "generation_config.json"):
            version = rf"\g<1>{TRANSFORMERS_VERSION}"
            text = re.sub(r'("transformers_version": ")[^"]*', version, file.read_text())
            (directory / file.name).write_text(text)
        # Their digests are those of other versions.
        elif file.name != DIGESTS_FILE:
            (directory / file.name).symlink_to(file)
    return home


def dry_run(home: PipelineHome, capsys: pytest.CaptureFixture[str]) -> str:
    from dagster_project.commands.building import build_dataset
    from dagster_project.commands.options import RunOptions

    capsys.readouterr()
    with home.entered():
        build_dataset(RunOptions(), shards=(), dry_run=True)
    return capsys.readouterr().out


def slices_of(home: PipelineHome) -> dict[str, tuple[int, int]]:
    """Which file each slice is, once those of the old home have their versions."""
    home.warehouse.prepare()
    return home.slice_states()


def changed_slices(home: PipelineHome, before: dict[str, tuple[int, int]]) -> set[str]:
    after = slices_of(home)
    assert before.keys() <= after.keys()
    return {name for name, state in after.items() if before.get(name) != state}


@pytest.mark.parametrize("view", STATISTICS_VIEWS)
def test_every_view_has_rows(home: PipelineHome, view: str):
    rows = home.warehouse.query(f"select * from {view}")
    if view == "paper_results":
        return
    # Of the k of its answers the old home says nothing.
    is_empty = needs_of(view).tables <= WITHOUT_ROWS or view == "call_calibration"
    # It reads no rows of tables.
    is_empty &= view != "slice_metadata"
    assert rows.is_empty() == is_empty
    if "tool" in rows.columns:
        assert set(rows["tool"]) == set(TOOLS)


def test_the_number_of_a_window_is_read_under_both_names(home: PipelineHome):
    windows = 'select window_index, "window" as stored from augmented_texts'
    rows = home.warehouse.query(windows).rows()
    assert len(rows) > 0
    assert all(index == stored is not None for index, stored in rows)


def test_the_views_say_what_the_code_that_made_the_home_said(home: PipelineHome):
    funnel = home.warehouse.query("select * from call_funnel")
    by_stage = {
        stage: dict(rows.select("tool", "rows").iter_rows())
        for (stage,), rows in funnel.group_by("stage")
    }
    assert by_stage["kept"] == KEPT
    assert by_stage["merged"] == MERGED
    examples = home.warehouse.query("select tool, count(*) from kept_examples group by tool")
    assert dict(examples.iter_rows()) == KEPT
    scores = home.warehouse.query("select benchmark, mode, items from evaluation_summary").rows()
    assert sorted(scores) == [
        ("dateset", "disabled", 2),
        ("dateset", "enabled", 2),
        ("perplexity", "disabled", 4),
    ]


def test_every_table_is_read_whole(home: PipelineHome):
    assert home.warehouse.damaged_slices() == []
    for table in tables():
        (found,) = home.warehouse.query(f"select count(*) as rows from {table}")["rows"]
        stored = sum(
            home.warehouse.read_slice(table, each.shard, each.name).height
            for each in home.warehouse.slices(table)
        )
        assert found == stored, table
        assert (found == 0) == (table in WITHOUT_ROWS), table


def test_rows_of_before_there_were_contexts_have_none(home: PipelineHome):
    """Beside rows that have one."""
    today = frame("documents", {"document_id": "today", "shard": "today", "context": "Why?"})
    home.warehouse.replace_slice("documents", "today", ALL, today, metadata={})
    for table in ("documents", "augmented_texts", "training_texts"):
        rows = home.warehouse.query(f"select document_id, context from {table}")
        found = dict(rows.drop_nulls().iter_rows())
        assert found == ({"today": "Why?"} if table == "documents" else {}), table
        assert rows.height > len(found)


def test_the_corpus_cut_again_is_the_same_shards(home: PipelineHome):
    """The file of the texts has another date in every checkout, so it is read again."""
    before = Manifest.load(home.home.sources)
    home.prepare()
    after = Manifest.load(home.home.sources)
    assert after.identities != before.identities
    assert after.shards == before.shards
    assert [entry.key for entry in after.active_shards] == list(SHARDS)


@pytest.mark.model
def test_a_build_would_do_nothing(
    home_with_model: PipelineHome, capsys: pytest.CaptureFixture[str], no_model: None
):
    slices = slices_of(home_with_model)
    read_again, *told = dry_run(home_with_model, capsys).splitlines()
    # The file of the texts has another date in every checkout.
    assert read_again.startswith("Read again first, with the same records in their shards: ")
    assert told == ["2 shards are up to date; a build would do nothing."]
    assert changed_slices(home_with_model, slices) == set()


@pytest.mark.model
def test_another_threshold_decides_again_from_the_losses_of_the_old_home(
    home_with_model: PipelineHome, capsys: pytest.CaptureFixture[str], no_model: None
):
    home = home_with_model
    before, slices = home.rows("filtered_calls"), slices_of(home)
    of_calendar = pl.col("tool") == "Calendar"
    kept = before.filter("is_kept")
    threshold = median(kept.filter(of_calendar)["loss_reduction"])
    home.change_settings({"tools": {"Calendar": {"filtering_threshold": threshold}}})
    home.build()
    after = home.rows("filtered_calls")
    expected = kept.filter(~of_calendar | (pl.col("loss_reduction") >= threshold - 1e-9))
    assert set(after.filter("is_kept")["call_id"]) == set(expected["call_id"])
    assert 0 < expected.filter(of_calendar).height < KEPT["Calendar"]
    losses = ["call_id", "loss_without_call", "loss_call_without_result", "loss_with_result"]
    assert after.select(losses).equals(before.select(losses))
    assert changed_slices(home, slices) == {
        f"{table}/shard={shard}/{name}"
        for shard in SHARDS
        for table, name in (("filtered_calls", "Calendar"), ("augmented_texts", "all"))
    } | {f"prompts/shard=all/{prompt_digest(load_prompt(tool))}" for tool in TOOLS}
    assert "up to date" in dry_run(home, capsys)


def test_the_training_set_is_made_again_with_what_it_has_besides_today(home: PipelineHome):
    old = home.warehouse.read_slice("training_texts", ALL, ALL)
    assert old["dropped_calls"].null_count() == old.height
    slices = slices_of(home)
    with home.entered(), dagster_instance(home.home) as instance:
        run_job(instance, "train", resources={}, assets=["training_set"])
    reported = home.metadata("training_set")
    assert reported["state"] == "done"
    assert (reported["train texts"], reported["development texts"]) == (5, 1)
    assert changed_slices(home, slices) == {
        "training_texts/shard=all/all",
        "training_exclusions/shard=all/all",
    }
    new = home.warehouse.read_slice("training_texts", ALL, ALL)
    assert new.drop("dropped_calls").equals(old.drop("dropped_calls"))
    # As many of each tool as were kept, or all that were scored and dropped.
    for tool in TOOLS:
        kept, dropped = (
            new.filter(pl.col("split") == "train")
            .explode(column)[column]
            .struct.field("tool")
            .eq(tool)
            .sum()
            for column in ("calls", "dropped_calls")
        )
        said = reported.get(f"random control: {tool}", "0 of 0")
        assert said == f"{dropped} of {kept}"
    assert new["dropped_calls"].list.len().sum() > 0


@pytest.mark.model
def test_the_perplexity_of_the_base_model_is_up_to_date(
    home_with_model: PipelineHome, no_model: None
):
    """The finetuned model comes after the base model, and there was none.

    Questions are asked again: their rows say more by now.
    """
    slices = slices_of(home_with_model)
    with pytest.raises(RunFailedError, match="There is no finetuned model"):
        home_with_model.evaluate("perplexity")
    # Intervals the old home has none of.
    assert changed_slices(home_with_model, slices) == {
        f"{table}/shard=all/{benchmark}"
        for table in ("score_intervals", "paired_differences")
        for benchmark in ("dateset", "perplexity")
    }
