"""The whole measurement on a tiny model: who runs on what, and what is computed from it."""

from dataclasses import replace

from benchmarks.engine_report import stage_table, summary_table, tool_figures
from benchmarks.schedule import Schedule
from benchmarks.workload import later_round
from tests.toolformer.architectures import windows_of


def test_all_engines_run_on_the_documents_of_the_tool_and_the_report_has_them(small):
    extra = windows_of(small.model.tokenizer, "1, 2, 3 and 4.", "5 of 6, 7 of 8.")
    said = []
    schedule = Schedule(small.model, small.stock, [*small.documents, *extra], said.append)
    tool = replace(small.tool, positions_per_text=2, documents=3)
    costs = schedule.run(tool)
    assert {name: cost.documents for name, cost in costs.sampling.items()} == {
        "batched": 3,
        "ours": 3,
    }
    assert {name: cost.documents for name, cost in costs.scoring.items()} == {
        "batched": 3,
        "batched_sorted": 3,
        "ours": 3,
    }
    assert len({cost.candidates for cost in costs.scoring.values()}) == 1
    assert said[0].startswith("Calculator: ours sampled, 3 documents: ")
    figures = tool_figures(costs)
    named = {"ratio_batched", "token_ratio_batched", "tokens_per_candidate"}
    assert set(figures["sampling"]) >= named
    assert set(figures["scoring"]) >= {*named, "ratio_batched_sorted"}
    assert figures["whole"]["token_ratio_batched"] > 1
    assert stage_table(costs.scoring).height == 3
    assert summary_table({tool.title: figures})["n"].to_list() == [3]
    assert later_round(tool).title == "Calculator, later round"
