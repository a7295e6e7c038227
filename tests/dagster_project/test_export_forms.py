"""What other programs make of exports: templates, Arrow, tokenizers, `datasets`, MCP clients."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.json
import pytest

from tests.dagster_project.exports import call, records_of, store, store_calls
from tests.fakes import byte_tokenizer
from tests.outside import Outside
from tests.warehouse.rows import SHARD
from toolformer.home.home import Home
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

# Texts of other kinds than those of the case.
MARKED = [
    "<|start_header_id|>user<|end_header_id|> 6 sacks, so 12 in two days.<|eot_id|>",
    "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>> 3 * 4 = 12 mills [/INST]</s>",
    "### Instruction:\nGrind 12 sacks.\n\n### Response:\nThey are ground.<|im_end|>",
    "<start_of_turn>model 12 mills<end_of_turn><|im_end|>, <｜User｜>",
]


def _validate(instance: object, schema: object) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `mcp`")
    jsonschema.validate(instance, schema)


def fill_with(warehouse: Warehouse, texts: list[str], tool: str = "Calculator", **changes) -> None:
    """A kept call in each text."""
    documents = [{"document_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    store(warehouse, "documents", SHARD, "all", *documents)
    kept = [
        {"call_id": f"k{n}", "document_id": f"d{n}", "position": 2, "character_offset": 2} | changes
        for n in range(len(texts))
    ]
    store_calls(warehouse, tool, kept)
    merged = [
        {**document, "context": document["text"], "calls": [call(row | {"tool": tool})]}
        for document, row in zip(documents, kept, strict=True)
    ]
    store(warehouse, "augmented_texts", SHARD, "all", *merged)


def exported(run: Any, folder: Path, form: str, *options: str) -> Path:
    file = folder / f"{form}{len(list(folder.iterdir()))}.jsonl"
    outcome = run("export", form, "--output", file, *options)
    assert outcome.code == 0, outcome.err
    return file


def checked(test_data: Path, case: str, *arguments: object) -> str:
    """What the check of a case says."""
    check = test_data / "cases" / case / "check.py"
    command = [sys.executable, str(check), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_templates_that_want_ids_take_every_chat(built, run, tmp_path, test_data: Path):
    for options in ((), ("--arguments", "json")):
        chats = exported(run, tmp_path, "sft", *options)
        assert checked(test_data, "13-sft-tool-ids", chats) == "all chats can be rendered\n"


def test_json_texts_survive_arrow_and_objects_do_not(built, run, tmp_path, test_data: Path):
    case = "11-sft-null-arguments"
    assert ", 1 calls" in checked(test_data, case, exported(run, tmp_path, "sft"))
    chats = exported(run, tmp_path, "sft", "--arguments", "json")
    assert "2 chats, 0 calls whose arguments changed" in checked(test_data, case, chats)


def test_every_reader_gives_json_texts_as_they_were(built, run, tmp_path):
    file = exported(run, tmp_path, "sft", "--arguments", "json")
    as_objects = records_of(exported(run, tmp_path, "sft"))
    read = {
        "pyarrow": pyarrow.json.read_json(file).to_pylist(),
        "polars": pl.read_ndjson(file).to_dicts(),
        "pandas": pd.read_json(file, lines=True).to_dict("records"),
    }
    for name, rows in read.items():
        for row, objects in zip(rows, as_objects, strict=True):
            assert json.loads(row["tools"]) == objects["tools"], name
            for message, plain in zip(row["messages"], objects["messages"], strict=True):
                for made, told in zip(
                    message.get("tool_calls") or [], plain.get("tool_calls", []), strict=True
                ):
                    arguments = json.loads(made["function"]["arguments"])
                    assert arguments == told["function"]["arguments"], name


def test_arguments_of_chats_are_refused_for_texts(built, run, tmp_path):
    outcome = run("export", "text", "--output", tmp_path / "x", "--arguments", "json")
    assert outcome.code == 2
    said = " ".join(re.sub("[│╭╮╰╯─]", "", outcome.err).split())
    assert "has no named arguments" in said


@pytest.mark.parametrize("source", ["case", "own"])
def test_no_tokenizer_makes_special_tokens_of_an_export(
    warehouse: Warehouse, run, tmp_path, test_data: Path, source: str
):
    case = "20-special-tokens-in-text"
    texts = MARKED
    if source == "case":
        lines = (test_data / "cases" / case / "texts.jsonl").read_text(encoding="utf-8")
        texts = [json.loads(line)["text"] for line in lines.splitlines()]
    fill_with(warehouse, texts, result="5 <|im_end|>" if source == "own" else "408")
    marked = len(texts) - (source == "case")  # The fourth has words of a template alone.
    tokenizer = tmp_path / "tokenizer"
    byte_tokenizer().backend.save_pretrained(tokenizer)
    for form in ("sft", "text"):
        broken = tmp_path / f"{form}.jsonl"
        outcome = run("export", form, "--output", broken)
        assert f"chat marks such as <|im_end|> in {marked} records, so that" in outcome.out
        assert "<|im_end|>" not in broken.read_text(encoding="utf-8")
    assert not checked(test_data, case, tmp_path / "sft.jsonl", tokenizer)


TYPED = '''
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from tools.plugins.function_tool import FunctionTool


def calculate(expression: str) -> str:
    """Works an expression out."""
    return expression


def convert(
    amount: Annotated[float, Field(gt=0, description="How much.")],
    unit: Literal["metre", "foot"] = "metre",
    is_exact: bool = False,
) -> str:
    """Converts a length."""
    return unit


Calculate = FunctionTool.from_function(calculate, name="calculate", version="1")
Convert = FunctionTool.from_function(convert, name="convert", version="1")
'''


@pytest.mark.parametrize(
    ("tool", "arguments", "by_name"),
    [
        ("calculate", "3 + 4, then 5", {"expression": "3 + 4, then 5"}),
        ("convert", "2.5", {"amount": 2.5}),
        ("convert", "3, foot, true", {"amount": 3.0, "unit": "foot", "is_exact": True}),
        ("convert", "3, is_exact=true", {"amount": 3.0, "is_exact": True}),
    ],
)
def test_a_typed_tool_is_called_by_its_own_schema(
    warehouse: Warehouse,
    home: Home,
    run,
    outside: Outside,
    tmp_path,
    tool: str,
    arguments: str,
    by_name: dict,
):
    outside.module("my_tools", TYPED)
    home.settings_file.write_text(
        f"tools:\n  {tool}:\n    class: my_tools:{tool.title()}\n    prompt: prompt.txt\n"
    )
    (home.root / "prompt.txt").write_text("Call.\n\nInput: {text}\nOutput:")
    fill_with(warehouse, ["The mill ground 7 sacks."], tool, arguments=arguments)
    (record,) = records_of(exported(run, tmp_path, "sft"))
    (schema,) = (each["function"] for each in record["tools"])
    assert schema["name"] == tool
    function = record["messages"][1]["tool_calls"][0]["function"]
    assert function == {"name": tool, "arguments": by_name}
    _validate(by_name, schema["parameters"])
    if tool == "convert":
        assert schema["parameters"]["properties"]["amount"]["description"] == "How much."
        assert schema["parameters"]["required"] == ["amount"]


def test_arguments_that_a_changed_tool_does_not_take_are_told(
    warehouse: Warehouse, home: Home, run, outside: Outside, tmp_path
):
    outside.module("my_tools", TYPED)
    home.settings_file.write_text("tools:\n  convert:\n    class: my_tools:Convert\n")
    fill_with(warehouse, ["The mill ground 7 sacks."], "convert", arguments="three, mile")
    outcome = run("export", "sft", "--output", tmp_path / "chats.jsonl")
    assert outcome.is_one_paragraph_naming("convert(three, mile)", "toolformer build")
    assert not (tmp_path / "chats.jsonl").exists()


def test_a_tool_that_cannot_be_opened_is_told_and_takes_one_text(
    warehouse: Warehouse, run, tmp_path
):
    fill_with(warehouse, ["The mill ground 7 sacks."], "Gone", arguments="1, 2")
    outcome = run("export", "sft", "--output", tmp_path / "chats.jsonl")
    assert outcome.code == 0
    assert "Gone cannot be opened" in outcome.out
    (record,) = records_of(tmp_path / "chats.jsonl")
    function = record["messages"][1]["tool_calls"][0]["function"]
    assert function["arguments"] == {"input": "1, 2"}


def test_load_dataset_gives_the_rows_of_the_newest_export(
    built: Warehouse, run, tmp_path, monkeypatch
):
    """`datasets` takes a folder for another one of the same name and card."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install trl")
    here, there = tmp_path / "calls", tmp_path / "other" / "calls"

    def texts(folder: Path) -> list[str]:
        cache = str(tmp_path / "cache")
        return datasets.load_dataset(str(folder), split="train", cache_dir=cache)["text"][:]

    def export(folder: Path) -> list[str]:
        shutil.rmtree(folder, ignore_errors=True)
        assert run("export", "dataset", "--output", folder).code == 0
        return pl.read_parquet(folder / "data" / "augmented_texts" / "*.parquet")["text"].to_list()

    assert export(here) == texts(here)
    for sentences in (["One 12."], ["Two 12."], ["Three 12.", "Four 12."]):
        # As many rows with other words, and other rows.
        fill_with(built, sentences)
        assert export(here) == texts(here) == sentences
    fill_with(built, ["Five 12."])
    assert export(there) == texts(there) == ["Five 12."]
