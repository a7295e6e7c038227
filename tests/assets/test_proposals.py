"""Proposed places and calls in the pipeline; the Calendar needs no sampling."""

import pytest

from assets.sampling import proposed_calls
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from tests.fakes import byte_tokenizer
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import split_into_windows
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.locker import Locker
from tools.protocol import Document

SHARD = SHARDS[0]
NONE, CALLS = ({"sampling": {"proposals": kind}} for kind in ("none", "calls"))


def test_each_window_has_the_proposals_that_stand_in_it():
    texts = {
        "a": Document("a", "Now 6 * 7 = 42 and in total 8 come."),
        "b": Document("b", "No number."),
    }
    windows = [
        window
        for each in texts.values()
        for window in split_into_windows(
            each.document_id, each.text, byte_tokenizer(), window_tokens=20
        )
    ]
    assert [window.text for window in windows] == [
        "Now 6 * 7 = 42 and",
        " in total 8 come.",
        "No number.",
    ]
    tool = Calculator()  # `al` of `total` is one token.
    assert proposed_calls(tool, texts, windows, "calls") == [{11: "6 * 7"}, {8: None}, {}]
    assert proposed_calls(tool, texts, windows, "positions") == [{11: None}, {8: None}, {}]
    assert proposed_calls(tool, texts, windows, "none") is None
    assert proposed_calls(Locker(seed=0), texts, windows, "calls") is None


@pytest.mark.model
@pytest.mark.java
@pytest.mark.slow
def test_the_calls_that_a_tool_proposes_are_the_candidates(
    built_home: PipelineHome, copy_of: MakeHome, monkeypatch: pytest.MonkeyPatch
):
    home = copy_of(built_home)
    before = home.slice_states()
    # What was stored without the setting is up to date where nothing is proposed.
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "load", lambda *_a, **_o: pytest.fail("a model was loaded"))
        home.build(shards=[SHARD], tools=["Calendar"], overrides=NONE)
    assert home.slice_states() == before

    home.build(shards=[SHARD], tools=["Calendar"], overrides=CALLS)
    candidates = home.rows("candidate_calls", shards=[SHARD]).filter(tool="Calendar")
    assert set(candidates["proposed"]) == {"call"}
    texts = dict(home.rows("documents").select("document_id", "text").iter_rows())
    for row in candidates.iter_rows(named=True):
        text, offset = texts[row["document_id"]], row["character_offset"]
        places = {each.offset for each in Calendar().proposals(Document("d", text))}
        assert offset in places or (text[offset] == " " and offset + 1 in places)
    counted = home.warehouse.query(
        "select tool, candidates from call_proposals where proposed = 'call'"
    )
    assert counted.rows() == [("Calendar", candidates.height)]
    others = home.rows("candidate_calls", shards=[SHARD]).filter(tool="Calculator")
    assert set(others["proposed"]) == {"none"}
