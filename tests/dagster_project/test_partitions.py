"""Which partitions are there: those that somebody wants."""

import dagster as dg

from toolformer.home.partitions import (
    BENCHMARK,
    EVALUATIONS,
    MODEL,
    MODEL_VARIANTS,
    VARIANT,
    register,
    register_evaluations,
)
from toolformer.home.settings.evaluation_sections import EMBEDDED_BENCHMARKS, EvaluationSettings


def test_a_benchmark_without_its_file_and_controls_are_no_partitions_until_they_are_wanted(
    tmp_path,
):
    there = tmp_path / "asdiv.json"
    there.write_text("[]")
    settings = EvaluationSettings(  # pyright: ignore[reportCallIssue]
        files={"asdiv": str(there), "svamp": str(tmp_path / "gone.json")},
        benchmarks=("perplexity", "svamp", "triviaqa"),
        models={"mine": str(tmp_path)},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        register_evaluations(instance, settings)
        assert set(instance.get_dynamic_partitions(BENCHMARK)) == {*EMBEDDED_BENCHMARKS, "asdiv"}
        assert set(instance.get_dynamic_partitions(MODEL)) == {"base", "finetuned", "mine"}
        assert instance.get_dynamic_partitions(VARIANT) == ["calls"]
        register(instance, VARIANT, ["plain"])
        register(instance, MODEL, ["plain"])
        register(instance, BENCHMARK, ["svamp"])
        # A second time, as with the next command.
        register(instance, BENCHMARK, ["svamp"])
        keys = EVALUATIONS.get_partition_keys(dynamic_partitions_store=instance)
        assert "svamp|plain" in keys
        assert len(keys) == 6 * 4
        variants = MODEL_VARIANTS.get_partition_keys(dynamic_partitions_store=instance)
        assert variants == ["calls", "plain"]
