"""The whole measurement on a tiny model: who runs on what, and what is computed from it."""

from dataclasses import replace

import pytest

from benchmarks.agreement import agreement
from benchmarks.costs import Cost
from benchmarks.engine_report import Peak, ratio, stage_table, token_ratio, tool_figures
from benchmarks.schedule import Schedule
from benchmarks.workload import later_round
from tests.toolformer.architectures import windows_of
from toolformer.scoring.losses import ScoredCall
from tools.protocol import ToolCall


@pytest.fixture
def documents(small):
    extra = windows_of(small.model.tokenizer, "a", "b", "1, 2, 3 and 4.", "5 of 6, 7 of 8.", "9.")
    return [*small.documents, *extra[2:]]


def _schedule(small, documents, said):
    return Schedule(small.model, small.stock, documents, literal_every=4, say=said.append)


@pytest.fixture
def costs(small, documents):
    tool = replace(small.tool, positions_per_text=2, baseline_documents=4)
    schedule = _schedule(small, documents, [])
    costs = schedule.run(tool)
    schedule.go_on([costs], deadline=float("inf"))
    return costs


def test_engines_run_on_their_share_of_the_documents(costs):
    expected = {"literal": 2, "ours_for_literal": 2, "batched": 4, "ours": 4, "ours_all": 5}
    assert {name: cost.documents for name, cost in costs.sampling.items()} == expected
    assert {name: cost.documents for name, cost in costs.scoring.items()} == {
        **expected,
        "batched_sorted": 4,
    }


def test_ours_leaves_out_documents_when_the_time_is_up(small, documents):
    tool = replace(small.tool, positions_per_text=2, baseline_documents=2)
    said = []
    schedule = _schedule(small, documents, said)
    costs = schedule.run(tool)
    schedule.go_on([costs], deadline=0.0)
    assert costs.sampling["ours_all"].documents == costs.scoring["ours_all"].documents == 2
    assert said[-1] == "Calculator: no time left for more than 2 documents"
    schedule.go_on([costs], deadline=float("inf"))
    assert costs.sampling["ours_all"].documents == costs.scoring["ours_all"].documents == 5


def test_figures_hold_what_the_documentation_names(small, costs, documents):
    compared = agreement(
        small.model, small.stock, costs.tool, documents[:2], costs.calls, max_calls=3
    )
    figures = tool_figures(costs, compared, Peak(1e9, 1000, 100))
    named = {"ratio_batched", "token_ratio_batched", "tokens_per_candidate"}
    assert set(figures["sampling"]) >= named
    assert set(figures["scoring"]) >= {*named, "ratio_batched_sorted", "gemm_share"}
    assert figures["whole"]["ratio_batched"] > 0
    assert figures["documents"] == {"literal": 2, "batched": 4, "ours": 5}
    assert figures["positions_equal"] == 1.0
    assert stage_table(costs.scoring, Peak(1e9, 1000, 100)).height == 6


@pytest.mark.parametrize("is_later", [False, True], ids=["first round", "later round"])
def test_agreement_sees_equal_decisions_and_small_differences(small, is_later):
    tool = later_round(small.tool) if is_later else small.tool
    calls = [
        ScoredCall(f"{place}", ("document-0", 0), place, ToolCall("Calculator", "6 * 7"), "42")
        for place in range(6)
    ]
    found = agreement(small.model, small.stock, tool, small.documents, calls, max_calls=3)
    assert found.calls == 3
    assert found.decisions_equal == 1.0
    assert found.max_loss_difference < 1e-4
    assert found.positions_equal == 1.0
    assert found.max_probability_difference < 1e-6


def test_agreement_sees_a_model_that_is_another(small):
    from benchmarks.batched_literal import LiteralEngine
    from tests.fakes import tiny_model

    other = LiteralEngine(
        tiny_model(seed=1, context_length=1024).model, small.model.tokenizer, bos_id=0
    )
    calls = [ScoredCall("a", ("document-0", 0), 3, ToolCall("Calculator", "6 * 7"), "42")]
    found = agreement(small.model, other, small.tool, small.documents, calls, max_calls=3)
    assert found.max_loss_difference > 0.01


def test_ratios_compare_documents_not_sums():
    slow, fast = Cost(documents=2, seconds=8.0, tokens_fed=60), Cost(4, seconds=2.0, tokens_fed=40)
    assert ratio(slow, fast) == 8.0
    assert token_ratio(slow, fast) == 3.0
