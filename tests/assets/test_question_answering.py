"""QA in the graph: its index is built, its calls are sampled, executed and scored."""

import pytest

from tests.assets.conftest import MakeHome, PipelineHome

pytestmark = [pytest.mark.model, pytest.mark.java, pytest.mark.slow]

SHARD = "shard-00000"
SETTINGS = {
    "tools": {"QA": {"is_enabled": True, "positions_per_text": 2, "calls_per_position": 1}},
}


@pytest.fixture
def home(prepared_home: PipelineHome, copy_of: MakeHome) -> PipelineHome:
    made = copy_of(prepared_home)
    made.change_settings(SETTINGS)
    return made


def test_calls_are_answered_from_the_passage_index_and_a_second_build_loads_nothing(
    home: PipelineHome, monkeypatch: pytest.MonkeyPatch
):
    home.build(shards=[SHARD], tools=["QA"])
    index = home.metadata("passage_index")
    assert index["state"] == "done"
    assert index["passages"] > 1_000
    assert (index["encoder"], index["dimension"]) == ("wordllama", 256)
    calls = home.rows("executed_calls", shards=[SHARD])
    assert calls.height > 0
    assert set(calls["status"]) <= {"executed", "failed"}
    assert set(calls["reason"].drop_nulls()) <= {"unsure", "no_result", "empty_result"}
    assert "hybrid" in calls["tool_version"][0]
    assert "language-model" in calls["tool_version"][0]
    slices = home.slice_states()

    from toolformer.forward.language_model import LanguageModel

    monkeypatch.setattr(LanguageModel, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    home.build(shards=[SHARD], tools=["QA"])
    assert home.slice_states() == slices
