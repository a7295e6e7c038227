"""What a plan finds out of date is what Dagster shows with another code version."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from assets.code_versions import code_version
from assets.dataset.stages import PIPELINE
from assets.evaluation.answers import questions_digest
from assets.passage_vectors import passage_index_fingerprint
from assets.search_index import article_files, wikipedia_index_fingerprint
from assets.stages import STAGES
from assets.training.finetuned_model import model_fingerprint
from assets.training.training_inputs import training_set_digest
from tests.assets.setting_effects import setting_paths
from tests.fakes import save_tiny_model
from tests.warehouse.rows import SHARD, new_warehouse, save_manifest
from toolformer.base.digests import hex_digest_of_file
from toolformer.home.home import Home
from toolformer.home.wiring.benchmarks import configured_benchmark, items_of, text_file
from toolformer.home.wiring.models import Annotator, evaluated_model
from toolformer.home.wiring.toolbox import open_toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings, merged
from toolformer.settings.settings_file import _PATHS, settings_of_rounds
from toolformer.sources.manifest import ShardEntry

ENTRY = ShardEntry(SHARD, "texts.jsonl", 0, 1, "d", is_held_out=False)
WEIGHTS = "model/model.safetensors"
QUESTIONS = [{"question": f"What is {number} plus 1?", "answer": number} for number in range(3)]
OF_BENCHMARKS = {"training_set", "evaluation_results"}
OF_TOOLS = {"executed_calls", "min_call_probability", "evaluation_results"}
OFF = ("QA", "MT", "WikiSearch", "Calendar")
SETTINGS: dict[str, Any] = {
    "preset": "small",
    "rounds": [],
    "language_model": {"path": "base"},
    "tools": {name: {"is_enabled": False} for name in OFF},
    "evaluation": {"benchmarks": ["sums"]},
}
TABLE = {"class": "tools.plugins.table_tool:TableTool"}
COLUMNS = {"key": ["city"], "values": ["country"]}
OWN = {"class": "tool_of_this_test:Mark", "options": {"folder": "model"}}


def with_table(table: str) -> dict[str, Any]:
    return {"tools": {"Facts": {**TABLE, "options": {"table": table, **COLUMNS}}}}


# By path: settings, a file that rows depend on, the stages, and a file that is not read.
FILES: dict[str, tuple[dict[str, Any], str, set[str], str]] = {
    "language_model.path": (
        {"language_model": {"path": "model"}, "training": {"plain_share": 0.5}},
        WEIGHTS,
        {"candidate_calls", "scored_calls", "training_set", "finetuned_model"}
        | {"evaluation_results"},
        "model/README.md",
    ),
    "sampling.annotator": (
        {"sampling": {"annotator": "model"}},
        WEIGHTS,
        {"candidate_calls", "scored_calls"},
        "model/cache/notes.json",
    ),
    "sampling.annotator of a round": (
        {"rounds": [{}, {}]},
        "models/toolformer/model.safetensors",
        {"candidate_calls", "scored_calls"},
        "models/toolformer/README.md",
    ),
    "tools.*.prompt": (
        {"tools": {"Calculator": {"prompt": "prompt.txt"}}},
        "prompt.txt",
        {"candidate_calls"},
        "prompt.md",
    ),
    "tools.MT.options.model_directory": (
        {"tools": {"MT": {"is_enabled": True, "options": {"model_directory": "model"}}}},
        WEIGHTS,
        OF_TOOLS,
        "model/README.md",
    ),
    "tools.WikiSearch.options.index_directory": (
        {"tools": {"WikiSearch": {"is_enabled": True, "options": {"index_directory": "lucene"}}}},
        "lucene/segments_1",
        OF_TOOLS,
        "lucene/write.lock",
    ),
    "tools.*.options": (
        with_table("facts.csv"),
        "facts.csv",
        {"candidate_calls", *OF_TOOLS},
        "facts.md",
    ),
    "tools.*.options, a query": (
        with_table("select * from 'facts.csv' where country <> '/'"),
        "facts.csv",
        {"candidate_calls", *OF_TOOLS},
        "facts.md",
    ),
    "tools.*.class": (
        {"tools": {"Mark": OWN}},
        "tool_of_this_test.py",
        {"candidate_calls", *OF_TOOLS},
        "model/what_the_tool_writes.sqlite",
    ),
    "wikipedia_index.source": (
        {"wikipedia_index": {"source": "articles"}},
        "articles/a.jsonl",
        {"wikipedia_index", "passage_index"},
        "articles/README.md",
    ),
    "passage_index.encoder": (
        {
            "passage_index": {"encoder": "model"},
            "tools": {"WikiSearch": {"is_enabled": True, "options": {"retriever": "hybrid"}}},
        },
        WEIGHTS,
        {"passage_index"},
        "model/README.md",
    ),
    "evaluation.files.*": (
        {"evaluation": {"files": {"svamp": "questions.jsonl"}}},
        "questions.jsonl",
        OF_BENCHMARKS,
        "questions.md",
    ),
    "evaluation.questions.*.path": (
        {"evaluation": {"questions": {"own": {"path": "questions.jsonl", "answers": "answer"}}}},
        "questions.jsonl",
        OF_BENCHMARKS,
        "questions.md",
    ),
    "evaluation.texts.*": (
        {"evaluation": {"texts": {"ours": "text.txt"}}},
        "text.txt",
        OF_BENCHMARKS,
        "text.md",
    ),
    "evaluation.models.*": (
        {"evaluation": {"models": {"other": "model"}}},
        WEIGHTS,
        {"evaluation_results"},
        "model/README.md",
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "model")
    # As NLLB's.
    (folder / "sentencepiece.bpe.model").touch()
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch, model: Path) -> Home:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    save_manifest(tmp_path / "sources", SHARD)
    new_warehouse(tmp_path)
    for name in ("base", "model", "models/toolformer"):
        shutil.copytree(model, tmp_path / name)
    (tmp_path / "model/cache").mkdir()
    prompt = Path("tools/prompts/Calculator.txt").read_text()
    lines = "".join(f"{json.dumps(question)}\n" for question in QUESTIONS)
    article = {"id": "1", "title": "Dairy", "text": "A dairy heats its milk. " * 9}
    tool = (
        "from tools.base import Tool\n\n\nclass Mark(Tool):\n    name = description = 'Mark'\n"
        "    version = '1'\n    prompt = {prompt!r}\n\n    def __init__(self, folder): pass\n\n"
        "    def call(self, arguments, document): return arguments\n"
    ).format(prompt=prompt.replace("Calculator", "Mark"))
    texts = {
        "prompt.txt": prompt,
        "questions.jsonl": lines,
        "text.txt": "A dairy heats its milk.\n",
        "facts.csv": "city,country\nOslo,Norway\nRome,Italy\nLima,Peru\nBonn,Germany\n",
        "articles/a.jsonl": json.dumps(article),
        "lucene/segments_1": "segments of 1",
        "tool_of_this_test.py": tool,
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Home(tmp_path)


def write_settings(home: Home, changes: Mapping[str, Any]) -> None:
    with home.settings_file.open("w") as file:
        YAML(typ="safe").dump(merged(SETTINGS, changes), file)


def planned(home: Home) -> dict[str, object]:
    """By stage what a plan compares, of all that depends on files or models."""
    found: dict[str, list[object]] = {}
    for settings in settings_of_rounds(home.settings_file):
        for name, part in _planned(settings, home):
            found.setdefault(name, []).append(part)
    return dict(found)


def _planned(settings: Settings, home: Home) -> Iterator[tuple[str, object]]:
    work = Workspace(settings, home)
    toolbox, annotator = open_toolbox(work), Annotator.of(work).identity
    for stage in PIPELINE:
        for partition in stage.partitions(settings, ENTRY, toolbox, annotator):
            yield stage.name, stage.own_fingerprint(partition).digest
    files = article_files(settings)
    yield "wikipedia_index", wikipedia_index_fingerprint(settings, files).digest
    yield "passage_index", passage_index_fingerprint(settings, files).digest
    yield "training_set", training_set_digest(work)
    yield "finetuned_model", model_fingerprint(work, "").digest
    versions = {name: tool.version for name, tool in toolbox.tools.items()}
    yield "min_call_probability", versions
    evaluation = settings.evaluation
    for name in (*evaluation.files, *evaluation.questions):
        benchmark = configured_benchmark(name, settings)
        yield "evaluation_results", questions_digest(benchmark, items_of(benchmark)[0])
    texts = [hex_digest_of_file(text_file(name, settings)) for name in evaluation.texts]
    models = [evaluated_model(key, work) for key in ("base", *evaluation.models)]
    identities = [model.identity(settings) for model in models]
    yield "evaluation_results", [texts, identities, versions]


def shown(home: Home) -> dict[str, object]:
    rounds = settings_of_rounds(home.settings_file)
    # The corpus has no plan: it is cut anew.
    stages = [stage for stage in STAGES if stage.name != "corpus_manifest"]
    return {stage.name: code_version(stage, rounds, home) for stage in stages}


class Changes:
    """What changed for a plan and in Dagster since this was made."""

    def __init__(self, home: Home):
        self._home, self._before = home, (planned(home), shown(home))

    def stages(self) -> set[str]:
        """The stages that are out of date, on which both have to agree."""
        now = planned(self._home), shown(self._home)
        plan, dagster = (
            {name for name in after if after[name] != before.get(name)}
            for before, after in zip(self._before, now, strict=True)
        )
        assert plan == dagster
        return plan


# What an edited file has in place of what it had; of weights, a byte in their middle.
_EDITS = {
    b"Norway": b"Sweden",
    b"plus 1": b"plus 2",
    b"heats its": b"cools its",
    # Of another size: Python takes a compiled module of a file of equal size and second.
    b"version = '1'": b"version = '1.1'",
    b"segments of 1": b"segments of 2",
    b"Add calls to": b"Put calls of",
}


def edit(file: Path) -> None:
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        return
    old, new = next(pair for pair in _EDITS.items() if pair[0] in content)
    file.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("path", FILES)
def test_an_edited_file_is_seen_by_plan_and_dagster_and_a_note_beside_it_by_neither(
    path: str, home: Home
):
    settings, file, stages, beside = FILES[path]
    write_settings(home, settings)
    changes = Changes(home)
    (home.root / beside).write_text("A note.")
    (home.root / file).touch()
    assert changes.stages() == set()
    edit(home.root / file)
    assert changes.stages() == stages


def test_every_setting_that_names_a_file_is_among_these():
    def leaves(paths: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
        for name, inner in paths.items():
            if isinstance(inner, Mapping):
                yield from leaves(inner, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}".replace("tools.MT.prompt", "tools.*.prompt")

    named = set(leaves({name: paths for name, paths in _PATHS.items() if name != "rounds"}))
    # What a source holds makes other shards.
    assert named - {"corpus.sources.*.path", "tools.WikiSearch.prompt"} <= set(FILES)
    assert {"tools.*.options", "tools.*.class"} <= set(setting_paths())


@pytest.mark.parametrize(
    "changes",
    [
        # Of tools that are switched off.
        {"tools": {"MT": {"options": {"beam_size": 4}}}},
        {"question_answering": {"retriever": "bm25"}},
        # Only its own shards have it.
        {"corpus": {"sources": [{"path": "more.jsonl", "tools": ["Calculator"]}]}},
    ],
)
def test_what_a_plan_leaves_dagster_leaves(home: Home, changes: dict[str, Any]):
    write_settings(home, {})
    before = Changes(home)
    write_settings(home, changes)
    assert before.stages() == set()


def test_of_a_server_its_code_is_read_and_no_log(home: Home):
    command = ["python", "server.py", "--log", "server.log"]
    options = {"command": command, "tool": "mark"}
    section = {"class": "tools.plugins.mcp_tool:McpTool", "options": options}
    write_settings(home, {"tools": {"Mark": section}})
    (home.root / "server.py").write_text("one = 1\n")
    before = shown(home)
    (home.root / "server.log").write_text("Started.")
    assert shown(home) == before
    (home.root / "server.py").write_text("one = 2\n")
    after = shown(home)
    assert {name for name in after if after[name] != before[name]} == {"candidate_calls", *OF_TOOLS}


def test_an_option_that_names_the_whole_disk_is_not_read(home: Home):
    write_settings(home, {"tools": {"Mark": {**OWN, "options": {"folder": "/"}}}})
    before = shown(home)
    (home.root / "note").write_text("A note.")
    assert shown(home) == before


def test_a_file_that_is_missing_keeps_no_code_location_from_loading(home: Home):
    for path, (settings, file, stages, _) in FILES.items():
        write_settings(home, settings)
        before, content = shown(home), (home.root / file).read_bytes()
        (home.root / file).unlink()
        after = shown(home)
        assert {name for name in after if after[name] != before[name]} == stages, path
        (home.root / file).write_bytes(content)
