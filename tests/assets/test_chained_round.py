"""A chained round: further calls behind the first one, which stays in the text."""

import pytest

from tests.assets.conftest import MakeHome, PipelineHome
from tests.assets.test_rounds import planned
from tests.literal import form_loss
from toolformer.errors import ToolformerError
from toolformer.forward.language_model import LanguageModel
from toolformer.home.expected_errors import RunFailedError
from toolformer.reference import WEIGHTS
from tools.protocol import ToolCall
from tools.syntax import call_pieces

pytestmark = [pytest.mark.java, pytest.mark.slow]

CHAINED = {
    "sampling": {"round": 2, "annotator": "base", "is_chained": True, "tools": ["Calculator"]},
    "scoring": {"placement": "inline"},
    # The model is random and keeps few calls: more places, so that several texts have one.
    "tools": {"Calculator": {"positions_per_text": 8, "calls_per_position": 3}},
}
_CALLS = """
select t.shard, t.text, t.calls, f.call_id, f.loss_without_call, f.loss_with_result
from augmented_texts t join filtered_calls f on f.call_id = t.calls[2].call_id
where t.round = 2 order by f.call_id
"""


def pieces(call: dict[str, str]) -> list[str]:
    return call_pieces(ToolCall(call["tool"], call["arguments"]), call["result"])


def test_calls_of_a_chained_round_are_those_of_a_text_with_its_first_call(
    built_home: PipelineHome, copy_of: MakeHome, calling_model
):
    home = copy_of(built_home)
    home.build(overrides=CHAINED)
    before = {
        (row["document_id"], row["window_index"]): row["calls"][0]
        for row in home.rows("augmented_texts").filter(round=1).iter_rows(named=True)
    }
    chained = home.rows("augmented_texts").filter(round=2)
    assert not chained.is_empty()
    for row in chained.iter_rows(named=True):
        first, *further = row["calls"]
        assert first == before[row["document_id"], row["window_index"]]
        assert {call["tool"] for call in further} == {"Calculator"}
    # Only texts with a call are offered, and no place in front of it.
    offered = home.rows("candidate_calls").filter(round=2)
    assert offered["tool"].unique().to_list() == ["Calculator"]
    for row in offered.iter_rows(named=True):
        assert row["position"] > before[row["document_id"], row["window_index"]]["position"]

    model = LanguageModel.load(calling_model)
    further = home.warehouse.query(_CALLS).to_dicts()
    assert further
    for row in further[:4]:
        ids = model.tokenizer.encode(row["text"])
        first, second = row["calls"][:2]
        first_ids = model.tokenizer.encode_pieces(pieces(first))
        ids[first["position"] : first["position"]] = first_ids
        position = second["position"] + len(first_ids)
        for column, call in (
            ("loss_without_call", []),
            ("loss_with_result", model.tokenizer.encode_pieces(pieces(second))),
        ):
            literal = form_loss(model, call, ids, position, WEIGHTS, is_inline=True)
            assert row[column] == pytest.approx(literal, abs=1e-3)

    # Other calls of the round before make it out of date, and nothing else does.
    assert planned(home, CHAINED) == {}
    home.build(overrides={"tools": {"Calculator": {"filtering_threshold": 0.5}}})
    reason = planned(home, CHAINED)["candidate_calls", "round-2.Calculator"]
    assert reason == "changed: augmented texts of the round before"


def test_a_chained_round_goes_on_with_no_calls_of_a_tool_that_was_switched_off(
    built_home: PipelineHome, copy_of: MakeHome, capsys
):
    home = copy_of(built_home)
    off = {"is_enabled": False}
    home.change_settings({"tools": {"Calendar": off, "WikiSearch": off}})
    with pytest.raises(ToolformerError, match="switched off now: "):
        home.build(overrides=CHAINED)
    assert "Out of date: 2 partitions of augmented_texts (" in capsys.readouterr().out
    assert home.rows("candidate_calls").filter(round=2).is_empty()
    home.build()
    home.build(overrides=CHAINED)
    chained = home.rows("augmented_texts").filter(round=2)
    tools = {call["tool"] for calls in chained["calls"] for call in calls}
    assert tools == {"Calculator"}
    assert "Out of date" not in capsys.readouterr().out


def test_a_chained_round_needs_the_round_before(prepared_home: PipelineHome, copy_of: MakeHome):
    home = copy_of(prepared_home)
    with pytest.raises(ToolformerError, match="round 1 has not annotated 'shard-00000'"):
        home.build(overrides=CHAINED)


def test_a_chained_round_in_other_windows_than_the_round_before_is_refused(
    built_home: PipelineHome, copy_of: MakeHome
):
    home = copy_of(built_home)
    with pytest.raises(
        RunFailedError, match="differs from the window that the previous round annotated"
    ):
        home.build(overrides={**CHAINED, "corpus": {"window_tokens": 8}})
    assert home.rows("candidate_calls").filter(round=2).is_empty()
