"""What holds for every benchmark; the hand-made scoring vectors through their own `score`."""

import json
from pathlib import Path

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import shipped
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem, StopRule
from toolformer.evaluation.benchmarks.dateset import Dateset
from toolformer.settings.evaluation_sections import BENCHMARKS
from toolformer.training.shared_words import words_of

VECTORS = json.loads(
    (Path(__file__).parents[3] / "vectors" / "vectors.json").read_text(encoding="utf-8")
)["scoring"]
SHIPPED: dict[str, Benchmark] = {
    **{name: shipped(name, Path(name)) for name in BENCHMARKS},
    "dateset": Dateset(seed=0),
}
# By the first word of its name: the rule that the paper applies (the word limits stand in the
# vectors), the room for an answer, and the tools that are blocked.
PROTOCOLS = {
    "lama": ("score_lama", 16, ("WikiSearch",)),
    "trex11k": ("score_lama", 16, ("WikiSearch",)),
    "templama": ("score_lama", 16, ()),
    "dateset": ("score_lama", 40, ()),
    **dict.fromkeys(("asdiv", "svamp", "mawps"), ("score_math", 40, ())),
    **dict.fromkeys(("webquestions", "nq", "triviaqa", "popqa"), ("score_qa", 40, ("QA",))),
    "mlqa": ("score_mlqa", 32, ()),
}


def protocol(name: str) -> tuple[str, int, tuple[str, ...]]:
    return PROTOCOLS[name.partition("-")[0]]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_benchmark_keeps_its_protocol(name):
    benchmark = SHIPPED[name]
    _, max_new_tokens, blocked_tools = protocol(name)
    version = "2" if name in ("asdiv", "svamp", "mawps") else "1"
    assert (benchmark.name, benchmark.version.split()[0]) == (name, version)
    assert benchmark.stop_rule == StopRule(max_new_tokens)
    assert benchmark.blocked_tools == blocked_tools


@pytest.mark.parametrize(
    ("benchmark", "vector"),
    [
        pytest.param(benchmark, vector, id=f"{name}-{vector['id']}")
        for name, benchmark in SHIPPED.items()
        for vector in VECTORS
        if vector["kind"] == protocol(name)[0]
    ],
)
def test_scoring_vectors(benchmark, vector):
    gold = vector["inputs"]["gold"]
    answers = tuple(gold) if isinstance(gold, list) else (str(gold),)
    item = BenchmarkItem("a", "x", answers)
    output = vector["inputs"]["prediction"]
    assert benchmark.score(item, output) is vector["expected"]["correct"]


def test_generated_items_have_their_bare_question():
    for item in SHIPPED["dateset"].items():
        assert isinstance(item, BenchmarkItem)
        (bare,) = item.bare_texts
        assert len(words_of(bare)) >= 5
        assert bare.rstrip("?") in item.prompt
