"""The whole graph on two small shards, with the embedded model, Java and the warehouse."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from dagster_project.commands.doctor import repair
from dagster_project.expected_errors import RunFailedError
from tests.assets.conftest import (
    SHARDS,
    TABLES,
    TOOLS,
    MakeHome,
    PipelineHome,
    assert_equal_builds,
)
from toolformer.augmentation import KeptCall, augmented_segments
from toolformer.calls import CallFormat
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import load_tokenizer
from toolformer.rescoring import MARGIN
from toolformer.sources.manifest import Manifest, slice_path
from tools.calendar import Calendar
from tools.protocol import Document
from tools.syntax import insert_calls
from warehouse.errors import DamagedSliceError

pytestmark = [pytest.mark.model, pytest.mark.java, pytest.mark.slow]


def thresholds(value: float) -> dict:
    return {"tools": {name: {"filtering_threshold": value} for name in TOOLS}}


def test_a_build_fills_every_table_for_every_shard_and_tool(built_home: PipelineHome):
    for shard in SHARDS:
        rows = built_home.all_rows(shards=[shard])
        assert rows["documents"].height == 3
        assert set(rows["candidate_calls"]["tool"]) == set(TOOLS)
        assert rows["filtered_calls"]["is_kept"].any()
        assert rows["augmented_texts"].height > 0
    funnel = built_home.warehouse.query("select * from call_funnel")
    assert set(funnel["tool"]) >= set(TOOLS)


def test_a_second_build_loads_no_model_takes_no_run_and_changes_nothing(
    built_home: PipelineHome, copy_of: MakeHome, no_model: None
):
    home = copy_of(built_home)
    slices, runs = home.slice_states(), home.run_ids("build_dataset")
    home.build()
    assert home.slice_states() == slices
    assert home.run_ids("build_dataset") == runs
    assert_equal_builds(home.all_rows(), built_home.all_rows())


def test_a_run_over_built_shards_loads_no_model_and_says_up_to_date(
    built_home: PipelineHome, copy_of: MakeHome, no_model: None, tmp_path: Path
):
    from dagster_project.runs.run_job import dagster_instance, run_job

    home = copy_of(built_home)
    no_weights = {"is_enabled": True, "options": {"model_directory": str(tmp_path / "none")}}
    home.change_settings({"tools": {"MT": no_weights}})
    slices = home.slice_states()
    with home.entered(), dagster_instance(home.home) as instance:
        run_job(instance, "build_dataset", resources={}, partitions=SHARDS)
    assert home.slice_states() == slices
    states = home.metadata("candidate_calls")["slices"]
    assert all(f"| {tool} | up to date |" in states for tool in TOOLS)
    assert "| MT | The tool MT is unavailable: " in states


def test_a_forced_build_of_a_shard_in_another_home_gives_equal_rows(
    built_home: PipelineHome, copy_of: MakeHome
):
    home = copy_of(built_home)
    before = home.slice_states()
    home.build(force=True, shards=SHARDS[:1])
    assert_equal_builds(home.all_rows(), built_home.all_rows())
    remade = {name for name, state in home.slice_states().items() if before.get(name) != state}
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        for tool in TOOLS:
            assert f"{table}/shard={SHARDS[0]}/{tool}" in remade
            assert f"{table}/shard={SHARDS[1]}/{tool}" not in remade


def test_one_tool_of_one_shard_gives_the_rows_of_the_full_build(
    prepared_home: PipelineHome, built_home: PipelineHome, copy_of: MakeHome
):
    home = copy_of(prepared_home)
    home.build(shards=[SHARDS[1]], tools=["Calendar"])
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        found = home.rows(table, shards=[SHARDS[1]])
        expected = built_home.rows(table, shards=[SHARDS[1]]).filter(pl.col("tool") == "Calendar")
        assert not found.is_empty()
        assert found.equals(expected), table
        assert home.rows(table, shards=[SHARDS[0]]).is_empty()


def test_another_threshold_decides_again_without_a_model(
    built_home: PipelineHome, copy_of: MakeHome, no_model: None
):
    home = copy_of(built_home)
    before = built_home.rows("filtered_calls")
    reductions = before.filter("is_kept")["loss_reduction"]
    threshold = float(reductions.median())
    home.change_settings(thresholds(threshold))
    home.build()
    after = home.rows("filtered_calls")
    expected = before.filter(pl.col("is_kept") & (pl.col("loss_reduction") >= threshold - 1e-9))
    assert set(after.filter("is_kept")["call_id"]) == set(expected["call_id"])
    assert 0 < expected.height < reductions.len()
    losses = ["call_id", "loss_without_call", "loss_call_without_result", "loss_with_result"]
    assert after.select(losses).equals(before.select(losses))
    merged = {call["call_id"] for calls in home.rows("augmented_texts")["calls"] for call in calls}
    assert merged <= set(expected["call_id"])


def test_deciding_again_equals_a_build_from_scratch_with_that_threshold(
    prepared_home: PipelineHome,
    copy_of: MakeHome,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    part = {"shards": [SHARDS[0]], "tools": ["Calendar"]}
    changed, fresh = copy_of(prepared_home, "changed"), copy_of(prepared_home, "fresh")
    fresh.build(**part, overrides=thresholds(0.75))
    changed.build(**part, overrides=thresholds(0.5))
    request.getfixturevalue("no_model")
    changed.build(**part, overrides=thresholds(0.75))
    assert_equal_builds(changed.all_rows(), fresh.all_rows())


def test_calls_that_can_be_kept_are_scored_in_float32_and_the_build_is_then_up_to_date(
    prepared_home: PipelineHome, copy_of: MakeHome, request: pytest.FixtureRequest
):
    home = copy_of(prepared_home)
    home.change_settings(
        {
            "scoring": {"rescoring": True, "lowest_threshold": 0.5, "chance_calls": 2},
            "language_model": {"precision": "bfloat16"},
            "tools": {name: {"filtering_threshold": 0.5} for name in (*TOOLS, "QA")}
            | {"Calendar": {"positions_per_text": 4, "filtering_threshold": 0.5}},
        }
    )
    part = {"shards": [SHARDS[0]], "tools": ["Calendar"]}
    home.build(**part)
    rows = home.rows("filtered_calls", shards=[SHARDS[0]])
    rough = rows.filter(pl.col("precision") == "bfloat16")
    assert 0 < rough.height < rows.height
    assert (rough["loss_reduction"] < 0.5 - MARGIN).all()
    stages = set(home.warehouse.read_slices("stage_costs", SHARDS[0])["stage"])
    assert {"rescoring", "swapped_results"} <= stages
    slices = home.slice_states()
    request.getfixturevalue("no_model")
    home.build(**part)
    assert home.slice_states() == slices


def test_calls_taken_out_of_augmented_texts_leave_the_text_token_for_token(
    built_home: PipelineHome, embedded_model_path
):
    tokenizer = load_tokenizer(embedded_model_path)
    documents = dict(built_home.rows("documents").select("document_id", "text").iter_rows())
    rows = built_home.rows("augmented_texts")
    for row in rows.iter_rows(named=True):
        start, text = row["window_offset"], row["text"]
        assert documents[row["document_id"]][start : start + len(text)] == text
        calls = [KeptCall(**call) for call in row["calls"]]
        assert len({call.position for call in calls}) == len(calls)
        ids = tokenizer.encode(text)
        segments = augmented_segments(tokenizer, ids, calls, call_format=CallFormat())
        assert [segment.ids[0] for segment in segments if segment.asked is None] == ids
        assert len(segments) == len(ids) + len(calls)
        augmented = insert_calls(text, [(call.character_offset, call.text) for call in calls])
        assert (
            tokenizer.decode([token for segment in segments for token in segment.ids]) == augmented
        )
        # From the left: what stood in front of a call is gone when its turn comes.
        for call in sorted(calls, key=lambda each: each.character_offset):
            end = call.character_offset + len(call.text)
            assert augmented[call.character_offset : end] == call.text
            augmented = augmented[: call.character_offset] + augmented[end:]
        assert augmented == text
    assert rows.height > 0


def test_a_shard_that_fails_does_not_stop_the_other(
    prepared_home: PipelineHome, built_home: PipelineHome, copy_of: MakeHome
):
    home = copy_of(prepared_home)
    raw = slice_path(home.home.sources, SHARDS[0])
    content = raw.read_bytes()
    raw.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunFailedError, match=f"{SHARDS[0]}.*damaged") as caught:
        home.build(tools=["Calendar"])
    assert str(raw) in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert caught.value.failed_shards in ((), (SHARDS[0],))
    assert home.rows("documents", shards=[SHARDS[0]]).is_empty()
    whole = [f"{table}/shard={SHARDS[1]}/" for table in TABLES]
    finished = {
        name: state
        for name, state in home.slice_states().items()
        if any(name.startswith(folder) for folder in whole)
    }
    assert len(finished) == len(TABLES)

    raw.write_bytes(content)
    home.build(tools=["Calendar"])
    after = home.slice_states()
    assert {name: after[name] for name in finished} == finished
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        expected = built_home.rows(table).filter(pl.col("tool") == "Calendar")
        assert home.rows(table).sort("call_id").equals(expected.sort("call_id")), table


GARBAGE = (
    "[ [[ ]] ] -> -> [] ->] [->",
    "1 [Calculator(2 * 3) -> 6] 2 [Calendar()] 3 <API> WikiSearch(x) -> y </API> 4 + 4 = 8",
    "The sum of 3 and 4 is 7. [Calculator(3 + 4) -> 7]\n\n\n\n   \n [Calendar() -> Today is",
    "null \x00 bytes \x00\x00 with 12 and 30 make 42 \x00",
    "👩‍👩‍👧‍👦 🇩🇪 e\u0301 \u202e 3 🎂 and 4 🎂 are 7 🎂, \u00a0 \u200b",
    "\n\n\n",
    " ",
    "",
    "7",
    "w" * 1_000_000,
    "Output: Your task is to add calls to a Calculator. Input: 5 plus 6 is 11 Output:",
    "{text} {0} %s ${HOME} 2 times 2 is 4 `rm -rf` '; drop table documents; --",
)


def test_garbage_goes_through_the_whole_build(prepared_home: PipelineHome, copy_of: MakeHome):
    home = copy_of(prepared_home)
    file = home.home.root / "garbage.jsonl"
    records = [
        {"text": text, "url": "https://example.org/2024/05/03/x"}
        if len(text) < 1000
        else {"text": text}
        for text in GARBAGE
    ]
    lines = [json.dumps(record) for record in records]
    lines += ["", "{broken", '{"text": 7}', '{"text": null}', '{"other": "x"}', "[]", '"text"']
    file.write_text("\n".join(lines) + "\n")
    home.change_settings({"corpus": {"sources": [{"path": str(file), "shard_size": 100}]}})
    home.prepare()
    # The source that is not listed any more keeps its shards.
    active = {entry.key for entry in Manifest.load(home.home.sources).active_shards}
    (shard,) = active - set(SHARDS)
    assert active > set(SHARDS)
    home.build(tools=["Calendar", "Calculator"], shards=[shard])

    rows = home.all_rows(shards=[shard])
    documents, rejected = rows["documents"], rows["rejected_records"]
    texts = set(documents["text"])
    assert texts >= {text for text in GARBAGE if text.strip() and "\x00" not in text}
    reasons = rejected["reason"].value_counts()
    assert rejected.height >= 5, reasons
    assert documents.height + rejected.height >= len(GARBAGE) + 5
    # What the input says in call syntax is text: nothing of it is executed.
    assert rows["candidate_calls"].height > 0
    for row in rows["augmented_texts"].iter_rows(named=True):
        assert row["text"] in next(
            text for text in texts if text[row["window_offset"] :].startswith(row["text"])
        )
    for result in rows["executed_calls"]["result"].drop_nulls():
        assert not re.search(r"[\[\]]|->", result)


def test_a_truncated_slice_is_named_and_repaired(built_home: PipelineHome, copy_of: MakeHome):
    home = copy_of(built_home)
    (damaged,) = [
        info.path
        for info in home.warehouse.slices("candidate_calls", SHARDS[0])
        if info.name == "Calendar"
    ]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(
        (DamagedSliceError, RunFailedError), match=re.escape(damaged.name)
    ) as raised:
        home.build()
    assert "doctor --repair" in str(raised.value)
    assert str(damaged.relative_to(home.home.warehouse)) in "\n".join(repair(home.home))
    assert not damaged.exists()
    home.build()
    assert_equal_builds(home.all_rows(), built_home.all_rows())


def test_the_model_is_trained_evaluated_and_then_up_to_date(
    built_home: PipelineHome, copy_of: MakeHome, request: pytest.FixtureRequest
):
    home = copy_of(built_home)
    home.change_settings(
        {
            "training": {
                "steps": 2,
                "least_texts": 1,
                "batch_size": 2,
                "max_tokens": 128,
                "micro_batch_tokens": 256,
                "evaluate_every": 1,
                "save_every": 100,
                "development_share": 0.34,
            },
            "evaluation": {"perplexity_windows": 2, "dateset_items": 2, "dateset_new_tokens": 5},
            "decoding": {"max_call_tokens": 12},
        }
    )
    home.train()
    home.evaluate()
    trained = home.metadata("finetuned_model")
    assert trained["state"] == "done"
    assert trained["steps"] == 2
    assert home.plot(trained["training curve"]).parent.name == "calls"
    statistics = home.metadata("call_statistics")
    for plot in ("funnel plot", "loss reductions", "kept calls by threshold"):
        home.plot(statistics[plot])
    assert statistics["kept"] == built_home.rows("filtered_calls")["is_kept"].sum()

    training = home.warehouse.read_slices("training_texts", "all")
    held_out = home.metadata("training_set")["held-out shards"]
    assert held_out in SHARDS
    assert set(training["shard"]) == set(SHARDS) - {held_out}
    assert set(training["split"]) == {"train", "development"}
    results = home.warehouse.read_slices("evaluation_results", "all")
    counts = dict(
        results.group_by("benchmark", "model", "mode")
        .len()
        .select(pl.concat_str("benchmark", "model", "mode", separator=" "), "len")
        .iter_rows()
    )
    assert counts == {
        **{f"perplexity {model} disabled": 2 for model in ("base", "finetuned")},
        # The base model knows no calls.
        "dateset base disabled": 2,
        "dateset finetuned disabled": 2,
        "dateset finetuned enabled": 2,
    }

    request.getfixturevalue("no_model")
    slices = home.slice_states()
    weights = (home.home.finetuned_model(1) / "model.safetensors").stat().st_mtime_ns
    home.train()
    home.evaluate()
    assert home.metadata("training_set")["state"] == "up to date"
    assert home.metadata("finetuned_model")["state"] == "up to date"
    assert "up to date" in home.metadata("evaluation_results")["state"]
    report = home.metadata("evaluation_report")
    home.plot(report["gain from calls"])
    assert report["benchmarks"] == 2
    assert report["dagster/row_count"] == len(counts)
    intervals = home.warehouse.view("evaluation_table").filter(source="ours")
    assert intervals.height == len(counts)
    assert intervals.filter(
        (pl.col("low") > pl.col("score")) | (pl.col("score") > pl.col("high"))
    ).is_empty()
    assert home.slice_states() == slices
    assert (home.home.finetuned_model(1) / "model.safetensors").stat().st_mtime_ns == weights


def proposing(kind: str) -> dict:
    return {"sampling": {"proposals": kind}}


def test_the_calls_that_a_tool_proposes_are_the_candidates(
    built_home: PipelineHome, copy_of: MakeHome, monkeypatch: pytest.MonkeyPatch
):
    home = copy_of(built_home)
    before = home.slice_states()
    # What was stored without the setting is up to date where nothing is proposed.
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "load", lambda *_a, **_o: pytest.fail("a model was loaded"))
        home.build(shards=[SHARDS[0]], tools=["Calendar"], overrides=proposing("none"))
    assert home.slice_states() == before

    home.build(shards=[SHARDS[0]], tools=["Calendar"], overrides=proposing("calls"))
    candidates = home.rows("candidate_calls", shards=[SHARDS[0]]).filter(tool="Calendar")
    assert set(candidates["proposed"]) == {"call"}
    documents = {
        row["document_id"]: Document(row["document_id"], row["text"], url=row["url"])
        for row in home.rows("documents").iter_rows(named=True)
    }
    for row in candidates.iter_rows(named=True):
        document, offset = documents[row["document_id"]], row["character_offset"]
        text = document.text
        places = {each.offset for each in Calendar().proposals(document)}
        assert offset in places or (text[offset] == " " and offset + 1 in places)
    counted = home.warehouse.query(
        "select tool, candidates from call_proposals where proposed = 'call'"
    )
    assert counted.rows() == [("Calendar", candidates.height)]
    others = home.rows("candidate_calls", shards=[SHARDS[0]]).filter(tool="Calculator")
    assert set(others["proposed"]) == {"none"}
