"""MT in the pipeline: a translation model of random weights, real sampling and scoring."""

import json

import polars as pl
import pytest

from dagster_project.settings.sections import merged
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from tests.tools.translation.conftest import make_nllb
from tools.calendar import Calendar
from tools.errors import CallSyntaxError

pytestmark = [pytest.mark.model, pytest.mark.java, pytest.mark.slow]

SHARD = SHARDS[0]
QUOTATION = (
    "Over the gate of the old park hangs a wooden board, and on it stands in white letters: "
    "Se ruega no dar de comer a las palomas de la plaza. Underneath somebody has written that "
    "the pigeons cannot read, which is true of most visitors of the park as well."
)
PLAIN = (
    "Over the gate of the old park hangs a wooden board, and on it stands in white letters that "
    "nobody may feed the pigeons. Underneath somebody has written that the pigeons cannot read, "
    "which is true of most visitors of the park as well."
)


def comparable(text: str) -> str:
    return " ".join(text.casefold().split())


@pytest.fixture
def home(tmp_path, pipeline_settings, embedded_model_path) -> PipelineHome:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in (*[QUOTATION] * 4, PLAIN))
    )
    made = PipelineHome(tmp_path / "home")
    made.write_settings(
        merged(
            pipeline_settings,
            {
                "language_model": {"path": str(embedded_model_path)},
                # The same text several times: few samples are phrases of the text at all.
                "corpus": {"sources": [{"path": str(texts), "shard_size": 5}]},
                "tools": {
                    "MT": {
                        "is_enabled": True,
                        "sampling_threshold": 0.0,
                        "positions_per_text": 10,
                        "calls_per_position": 6,
                        "filtering_threshold": 0.0,
                        "options": {
                            "model_directory": str(make_nllb(tmp_path / "nllb")),
                            "max_new_tokens": 12,
                        },
                    }
                },
            },
        )
    )
    return made


def test_only_phrases_in_front_of_the_call_are_translated(home: PipelineHome):
    home.build(shards=[SHARD], tools=["MT"])
    rows = {table: home.rows(table, shards=[SHARD]) for table in ("documents", "candidate_calls")}
    texts = dict(rows["documents"].select("document_id", "text").iter_rows())
    selection = home.rows("document_selection", shards=[SHARD])
    assert {
        (texts[row["document_id"]], row["reason"]) for row in selection.iter_rows(named=True)
    } == {(QUOTATION, "foreign_text_between_english"), (PLAIN, "no_foreign_text_inside")}

    candidates = rows["candidate_calls"]
    # One window, so that its text is the document's.
    assert set(candidates["window"]) == {0}
    parsed = candidates.filter(pl.col("status") == "parsed")
    assert parsed.height > 0
    for row in parsed.iter_rows(named=True):
        before = QUOTATION[: row["character_offset"]]
        assert comparable(row["arguments"]) in comparable(before)
    misplaced = candidates.filter(pl.col("reason").is_in(["look_ahead", "not_in_text"]))
    assert misplaced.height > 0
    for row in misplaced.iter_rows(named=True):
        before = QUOTATION[: row["character_offset"]]
        assert comparable(row["arguments"]) not in comparable(before)
        assert (comparable(row["arguments"]) in comparable(QUOTATION)) == (
            row["reason"] == "look_ahead"
        )

    executed = home.rows("executed_calls", shards=[SHARD])
    assert set(executed["call_id"]) == set(parsed["call_id"])
    assert set(executed["reason"].drop_nulls()) <= {"already_english", "unsupported_language"}
    assert "backend=nllb" in executed["tool_version"][0]


def test_any_tool_may_refuse_a_place_and_such_calls_go_no_further(
    prepared_home: PipelineHome, copy_of: MakeHome, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[str, str]] = []

    def refuse_the_first_of_a_window(self, arguments, *, before, after):
        is_first = before + after not in {"".join(each) for each in seen}
        seen.append((before, after))
        if is_first:
            raise CallSyntaxError("too_early", "Expected another call in front of this one.")

    monkeypatch.setattr(Calendar, "check_place", refuse_the_first_of_a_window)
    home = copy_of(prepared_home)
    home.build(shards=[SHARD], tools=["Calendar"])
    candidates = home.rows("candidate_calls", shards=[SHARD])
    texts = "\n\n".join(home.rows("documents", shards=[SHARD])["text"])
    assert all(before + after in texts for before, after in seen)

    refused = candidates.filter(pl.col("reason") == "too_early")
    assert refused.height == candidates.select("document_id", "window").n_unique()
    assert set(refused["status"]) == {"dropped"}
    parsed = candidates.filter(pl.col("status") == "parsed")
    assert parsed.height == len(seen) - refused.height > 0
    executed = home.rows("executed_calls", shards=[SHARD])
    assert set(executed["call_id"]) == set(parsed["call_id"])
    reasons = home.warehouse.query("select tool, stage, reason, rows from drop_reasons")
    assert ("Calendar", "sampling", "too_early", refused.height) in reasons.rows()
