"""The real model, index and documents, and all tools that are on by default, at once."""

import gzip
import json
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path

import pytest

from tests.assets.conftest import PipelineHome
from tests.homes import small_settings, write_lines
from toolformer.question_answering import reader
from toolformer.settings.corpus_sections import WIKIPEDIA_EXCERPT
from toolformer.sources.excerpt import read_wikipedia_excerpt
from toolformer.sources.files import built_in_path

SHARD = "shard-00000"
_WORDS = 45
# Of 106, which take most of the time that the two indexes over them do.
_ARTICLES = 20
_ROUND_2 = {"sampling": {"round": 2, "annotator": "finetuned", "uses_prompt": False}}
_TRAINING = {
    "steps": 1,
    "min_texts": 1,
    "batch_size": 2,
    "max_tokens": 96,
    "learning_rate": 1e-5,
    "evaluations": 1,
}
pytestmark = [pytest.mark.model, pytest.mark.java, pytest.mark.slow]


def real_documents(folder: Path) -> Iterator[dict]:
    """Short dated documents with numbers."""
    with gzip.open(folder / "text" / "web_docs.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            text = record["text"]
            has_date = re.search(r"/\d{4}/\d\d/\d\d/", record["url"] or "")
            # Those of versions, such as 1.66.0, are none.
            numbers = re.findall(r"(?<![\w.])\d+(?![\w.]*\d)", text)
            if has_date and 150 < len(text) < 600 and len(numbers) >= 4:
                # Windows are what a build costs; most texts have one, some two.
                yield {**record, "text": " ".join(text.split()[:_WORDS])}


def starter_texts() -> Iterator[dict]:
    lines = files("toolformer").joinpath("starter_texts/starter_texts.jsonl").read_text("utf-8")
    yield from map(json.loads, lines.splitlines())


def first_articles(file: Path) -> Path:
    """Write the first articles of the embedded excerpt, as it gives them."""
    with built_in_path(WIKIPEDIA_EXCERPT).open("rb") as stream:
        return write_lines(file, [*islice(read_wikipedia_excerpt(stream), _ARTICLES)])


@pytest.fixture
def home(tmp_path, embedded_model_path: Path, monkeypatch) -> PipelineHome:
    """Two documents, real ones where a folder with them is given."""
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    records = list(islice(real_documents(Path(folder)) if folder else starter_texts(), 2))
    assert len(records) == 2
    corpus = write_lines(tmp_path / "texts.jsonl", records)
    made = PipelineHome(tmp_path / "home")
    made.write_settings(small_settings(embedded_model_path, corpus))
    # As the preset has it: every tool that can run here. MT is on where Apertium is installed.
    tools = {name: {"is_enabled": True, "calls_per_position": 1} for name in ("QA", "MT")}
    # Reading takes most of the time of a build.
    tools["QA"]["options"] = {"passages": 2}
    articles = {"source": str(first_articles(tmp_path / "articles.jsonl"))}
    made.change_settings({"tools": tools, "wikipedia_index": articles})
    # Reading would take a minute.
    monkeypatch.setattr(reader, "_MAX_PASSAGE_WORDS", 40)
    return made


def test_default_tools_build_real_documents_together_and_the_model_that_learned_goes_on(
    home: PipelineHome, request
):
    home.build(shards=[SHARD])
    index = home.metadata("passage_index")
    assert index["state"] == "done"
    assert index["passages"] > 200
    assert (index["encoder"], index["dimension"]) == ("wordllama", 256)
    # QA and WikiSearch search the same index together.
    calls = home.rows("executed_calls", shards=[SHARD])
    counts = dict(calls["tool"].value_counts().iter_rows())
    assert {"QA", "WikiSearch", "Calendar", "Calculator"} <= set(counts)
    assert not calls["reason"].is_in(["tool_error", "timeout", "given_up"]).any()
    answers = calls.filter(tool="QA")
    assert set(answers["status"]) <= {"executed", "failed"}
    assert set(answers["reason"].drop_nulls()) <= {"unsure", "no_result", "empty_result", "peeks"}
    assert "hybrid" in answers["tool_version"][0]
    assert "language-model" in answers["tool_version"][0]
    # Whether QA is sure of an answer to these few questions, rounding decides.
    executed = set(calls.filter(status="executed")["tool"])
    assert "WikiSearch" in executed
    assert set(home.rows("filtered_calls", shards=[SHARD])["tool"]) == executed

    # Finetuned on what was kept, it answers questions and annotates the next round.
    home.change_settings({"training": _TRAINING, "evaluation": {"dateset_items": 1}})
    home.train()
    home.evaluate("dateset")
    answered = home.warehouse.query("select distinct model, mode from evaluation_results")
    assert {("finetuned", "disabled"), ("finetuned", "enabled")} <= set(answered.rows())
    runs = home.run_ids("evaluate")
    with home.instance() as instance:
        lines = [entry.user_message for run_id in runs for entry in instance.all_logs(run_id)]
    assert any(re.match(r"dateset with finetuned: disabled .*, [\d.]+ s$", line) for line in lines)
    home.build(shards=[SHARD], tools=["Calendar"], overrides=_ROUND_2)
    annotators = home.warehouse.query("select distinct round, model from stage_costs")
    assert {(1, "smollm2-135m-instruct"), (2, "toolformer")} <= set(annotators.rows())

    request.getfixturevalue("no_model")
    partitions = home.partition_states()
    home.build(shards=[SHARD])
    assert home.partition_states() == partitions
