"""Proposed places and calls in the pipeline; the Calendar needs no sampling."""

import pytest

from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from toolformer.forward.language_model import LanguageModel
from tools.calendar import Calendar
from tools.protocol import Document

pytestmark = [pytest.mark.model, pytest.mark.java, pytest.mark.slow]

SHARD = SHARDS[0]
NONE, CALLS = ({"sampling": {"proposals": kind}} for kind in ("none", "calls"))


def test_the_calls_that_a_tool_proposes_are_the_candidates(
    built_home: PipelineHome, copy_of: MakeHome, monkeypatch: pytest.MonkeyPatch
):
    home = copy_of(built_home)
    before = home.slice_states()
    # What was stored without the setting is up to date where it proposes nothing.
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "load", lambda *_a, **_o: pytest.fail("a model was loaded"))
        home.build(
            shards=[SHARD], tools=["Calendar"], overrides={"sampling": {"proposals": "none"}}
        )
    assert home.slice_states() == before

    home.build(shards=[SHARD], tools=["Calendar"], overrides=CALLS)
    candidates = home.rows("candidate_calls", shards=[SHARD]).filter(tool="Calendar")
    assert set(candidates["proposed"]) == {"call"}
    documents = {row["document_id"]: row for row in home.rows("documents").iter_rows(named=True)}
    for row in candidates.iter_rows(named=True):
        text = documents[row["document_id"]]["text"]
        places = {each.offset for each in Calendar().proposals(Document("d", text))}
        offset = row["character_offset"]
        assert offset in places or (text[offset] == " " and offset + 1 in places)
    [counted] = home.warehouse.query("select * from call_proposals where proposed = 'call'").rows(
        named=True
    )
    assert (counted["tool"], counted["candidates"]) == ("Calendar", candidates.height)
    others = home.rows("candidate_calls", shards=[SHARD]).filter(tool="Calculator")
    assert set(others["proposed"]) == {"none"}
