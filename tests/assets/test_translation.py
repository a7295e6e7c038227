"""MT in the pipeline: a translation model of random weights, real sampling and scoring."""

import json

import polars as pl
import pytest

from dagster_project.settings.sections import merged
from tests.assets.conftest import SHARDS, PipelineHome
from tests.tools.translation.conftest import make_nllb

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
