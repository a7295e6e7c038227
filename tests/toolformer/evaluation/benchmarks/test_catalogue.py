"""What holds for every benchmark; the hand-made scoring vectors through their own `score`."""

import json
from pathlib import Path

import pytest

from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.benchmarks.catalogue import BENCHMARKS, open_benchmark
from toolformer.evaluation.benchmarks.dateset import Dateset
from toolformer.evaluation.benchmarks.errors import BenchmarkNotFoundError
from toolformer.evaluation.benchmarks.unseen_tool import UnseenTool
from tools.locker import Locker

VECTORS = json.loads(
    (Path(__file__).parents[3] / "vectors" / "vectors.json").read_text(encoding="utf-8")
)["scoring"]
SHIPPED: dict[str, Benchmark] = {
    **{name: open_benchmark(name, Path(name)) for name in BENCHMARKS},
    "dateset": Dateset(seed=0),
    "unseen-tool": UnseenTool(Locker(seed=0), seed=0),
}
# Which rule the paper applies to which family; the word limits stand in the vectors.
RULES = {
    "LAMA": "score_lama",
    "Temporal": "score_lama",
    "Mathematics": "score_math",
    "Question answering": "score_qa",
    "MLQA": "score_mlqa",
    # Ours.
    "Unseen tools": "score_math",
}
BLOCKED = {"LAMA": ("WikiSearch",), "Question answering": ("QA",)}
ROOM = {
    "LAMA": 16, "Mathematics": 40, "Question answering": 40, "MLQA": 32,
    "templama": 16, "dateset": 40, "unseen-tool": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_benchmark_knows_its_name(name):
    assert SHIPPED[name].name == name
    assert SHIPPED[name].version.split()[0] == "1"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_tool_that_would_give_the_answer_away_is_blocked(name):
    assert SHIPPED[name].blocked_tools == BLOCKED.get(SHIPPED[name].family, ())


@pytest.mark.parametrize("name", SHIPPED)
def test_only_the_unseen_tool_is_brought_along(name):
    brought = [tool.name for tool in SHIPPED[name].further_tools]
    assert brought == (["Locker"] if name == "unseen-tool" else [])


@pytest.mark.parametrize("name", SHIPPED)
def test_an_answer_ends_by_its_length_alone(name):
    rule = SHIPPED[name].stop_rule
    assert rule.max_new_tokens == ROOM.get(SHIPPED[name].family, ROOM.get(name))
    assert rule.stop_texts == ()


@pytest.mark.parametrize(
    ("benchmark", "vector"),
    [
        pytest.param(benchmark, vector, id=f"{name}-{vector['id']}")
        for name, benchmark in SHIPPED.items()
        for vector in VECTORS
        if vector["kind"] == RULES[benchmark.family]
    ],
)
def test_scoring_vectors(benchmark, vector):
    gold = vector["inputs"]["gold"]
    answers = tuple(gold) if isinstance(gold, list) else (str(gold),)
    item = BenchmarkItem("a", "x", answers)
    output = vector["inputs"]["prediction"]
    assert benchmark.score(item, output) is vector["expected"]["correct"]


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(BenchmarkNotFoundError, match="'lama'; expected one of lama-squad, "):
        open_benchmark("lama", Path("x"))
