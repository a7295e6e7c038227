"""Benchmarks as the settings describe them."""

import json
from pathlib import Path

import pytest

from toolformer.home.wiring.benchmarks import configured_benchmark, identity_of, items_of
from toolformer.settings.sections import Settings, validated

PROBLEMS = [
    {"id": f"p{number}", "question": f"What is {number} plus 1?", "answer": number + 1}
    for number in range(9)
]


@pytest.fixture
def svamp(tmp_path) -> Path:
    file = tmp_path / "svamp.jsonl"
    file.write_text("".join(f"{json.dumps(problem)}\n" for problem in PROBLEMS))
    return file


def settings_with(**evaluation: object) -> Settings:
    return validated({"evaluation": evaluation}, origin="test")


def asked(name: str, settings: Settings) -> list[str]:
    items, _ = items_of(configured_benchmark(name, settings))
    return [item.prompt for item in items]


def test_a_question_file_of_ones_own_is_a_benchmark_of_five_lines(svamp: Path):
    described = {
        "path": str(svamp),
        "answers": "answer",
        "scoring": "number",
        "blocked_tools": ["QA"],
    }
    benchmark = configured_benchmark("own-sums", settings_with(questions={"own-sums": described}))
    (item, *_), _ = items_of(benchmark)
    assert (benchmark.name, benchmark.blocked_tools) == ("own-sums", ("QA",))
    assert item.prompt == "Answer the following question: What is 0 plus 1?"
    assert benchmark.score(item, " 1, of course.")


def test_the_identity_follows_the_content_of_the_file(svamp: Path):
    settings = settings_with(files={"svamp": str(svamp)})
    before = identity_of(configured_benchmark("svamp", settings))
    moved = svamp.rename(svamp.parent / "elsewhere.jsonl")
    settings = settings_with(files={"svamp": str(moved)})
    assert identity_of(configured_benchmark("svamp", settings)) == before
    moved.write_text(moved.read_text().replace("plus 1", "plus 2"))
    assert identity_of(configured_benchmark("svamp", settings)) != before
