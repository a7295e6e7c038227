"""Two rounds of annotation, the second by the model that the first one taught."""

from typing import Any

import pytest
from polars.testing import assert_frame_equal

from assets.dataset.stages import PIPELINE
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome, identity, refuse_models
from tests.homes import TOOLS
from toolformer.home.wiring.workspace import Workspace

pytestmark = [pytest.mark.java, pytest.mark.slow]

PER_TOOL = ("document_selection", *(stage.name for stage in PIPELINE if stage.per == "tool"))
TRAINING = {
    "steps": 2,
    "min_texts": 1,
    "batch_size": 2,
    "max_tokens": 128,
    "micro_batch_tokens": 256,
    "evaluations": 3,
    "save_every": 100,
    "precision": "float32",
    "learning_rate": 1e-4,
    # Few texts hold calls after so little training: about every second one measures.
    "development_share": 0.5,
}
# After so little training a round keeps few calls: more places, so that all texts have one.
ROUNDS = [
    {},
    {
        "sampling": {"uses_prompt": False},
        "tools": {name: {"positions_per_text": 10} for name in TOOLS},
    },
]
FIRST, SECOND = ({"sampling": {"round": number}} for number in (1, 2))


def weights(home: PipelineHome, number: int) -> tuple[int, int]:
    return identity(home.home.finetuned_model(number) / "model.safetensors")


def partitions_of_rounds(home: PipelineHome) -> dict[str, tuple[int, int]]:
    """Those of the shards: the training set is one for all rounds."""
    states = home.partition_states().items()
    return {name: state for name, state in states if not name.startswith("training_")}


def rows(home: PipelineHome, sql: str) -> list[tuple[Any, ...]]:
    return home.warehouse.query(sql).rows()


def test_two_rounds_end_to_end(built_home: PipelineHome, copy_of: MakeHome, capsys):
    home = copy_of(built_home)
    home.change_settings({"training": TRAINING, "rounds": ROUNDS})
    home.rounds(until=1)
    of_first, checkpoint = partitions_of_rounds(home), weights(home, 1)

    # The second round stands beside the first, of which nothing is made again.
    home.rounds(until=2)
    assert weights(home, 1) == checkpoint
    after = partitions_of_rounds(home)
    assert {name: after[name] for name in of_first} == of_first
    added = after.keys() - of_first.keys()
    folders = [f"{{table}}/shard={shard}/round-2." for shard in SHARDS]
    expected = {f.format(table=t) + tool for f in folders for t in PER_TOOL for tool in TOOLS}
    expected |= {f.format(table="augmented_texts") + "all" for f in folders}
    costs = {name for name in added if name.startswith("stage_costs/")}
    assert added - costs == expected
    assert {f.format(table="stage_costs") + "Calendar.sampling" for f in folders} <= costs
    assert all("/round-2." in name for name in costs)

    # Another model sampled it, without the prompt, and scored it.
    models = rows(home, "select distinct round, model from stage_costs where model is not null")
    assert sorted(models) == [(1, "tiny"), (2, "toolformer")]
    per_candidate = "select round, sum(tokens_fed) / sum(candidates) from stage_costs"
    fed = dict(rows(home, f"{per_candidate} where stage = 'sampling' group by all"))
    assert fed[2] < fed[1] / 2
    for table in ("candidate_calls", "filtered_calls"):
        ids = f"select count(*), count(distinct call_id) from {table}"
        ((total, distinct),) = rows(home, ids)
        assert total == distinct
    assert home.metadata("candidate_calls")["round"] == 2

    # Views and statistics give both rounds.
    for view in ("call_funnel", "call_statistics"):
        found = rows(home, f"select distinct round, tool from {view}")
        assert set(found) >= {(number, tool) for number in (1, 2) for tool in TOOLS}
    assert set(rows(home, "select distinct round from threshold_sweep")) == {(1,), (2,)}
    before = built_home.warehouse.query("select * exclude (seconds) from call_statistics")
    again = home.warehouse.query("select * exclude (seconds) from call_statistics where round = 1")
    # A mean over other files beside them may be summed in another order.
    assert_frame_equal(again, before, check_row_order=False)

    # The training set is the newest round's alone, and its model has a folder of its own.
    merged = "select unnest(calls).call_id from augmented_texts where round = 2"
    trained = "select unnest(calls).call_id from training_texts"
    assert set(rows(home, trained)) <= set(rows(home, merged))
    assert rows(home, trained)
    assert home.metadata("training_set")["rounds"] == "2"
    assert home.metadata("finetuned_model")["directory"] == str(home.home.finetuned_model(2))

    # So training made nothing of the rounds stale, and a run of one round sees the same settings.
    partitions, runs = home.partition_states(), home.run_ids("build_dataset")
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        refuse_models(patch)
        home.rounds(until=2)
        told = capsys.readouterr().out
        home.train(overrides=SECOND)
    for line in ("2 shards are up to date; nothing to do.", "Its model is up to date"):
        assert told.count(line) == 2
    assert home.partition_states() == partitions
    assert home.run_ids("build_dataset") == runs
    assert home.metadata("finetuned_model")["state"] == "up to date"

    # The same checkpoint of round 1 made again makes nothing stale.
    home.train(overrides=FIRST, force=True)
    assert weights(home, 1) != checkpoint
    assert not any(table == "candidate_calls" for table, _ in planned(home, SECOND))
    # Another checkpoint of round 1 does, and not what round 1 itself was made of.
    home.train(overrides={**FIRST, "training": {"seed": 1}}, force=True)
    for settings, is_stale in ((FIRST, False), (SECOND, True)):
        stale = planned(home, settings)
        for tool in TOOLS:
            name = f"round-2.{tool}" if is_stale else tool
            reason = stale.get(("candidate_calls", name))
            assert reason == ("changed: language model" if is_stale else None), tool


def planned(home: PipelineHome, overrides: dict[str, Any]) -> dict[tuple[str, str], str]:
    """What a build with these settings would make of the first shard, and why."""
    from dagster_project.runs.plan import BuildPlan
    from toolformer.home.wiring.models import Annotator
    from toolformer.home.wiring.toolbox import open_toolbox
    from toolformer.settings.settings_file import load_settings
    from toolformer.sources.manifest import Manifest

    settings = load_settings(home.home.settings_file, overrides=overrides)
    plan = BuildPlan(
        home.warehouse,
        settings,
        open_toolbox(Workspace(settings, home.home)),
        annotator=Annotator.of(Workspace(settings, home.home)).identity,
        force=False,
    )
    partitions = plan.of(Manifest.load(home.home.sources).active_shards[:1])
    return {(each.table, each.partition_name): each.reason for each in partitions}
