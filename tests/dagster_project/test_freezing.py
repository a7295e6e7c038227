"""`toolformer tools freeze`, and builds that answer from its file after the tools are gone."""

import datetime
import json
import shutil
from functools import partial
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from ruamel.yaml import YAML

from dagster_project.commands.freezing import freeze_answers
from dagster_project.commands.options import RunOptions
from dagster_project.definitions import definitions
from dagster_project.fingerprints import FINGERPRINT, PARTS, Fingerprint
from dagster_project.home import Home
from dagster_project.partitions import SHARDS
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import merged
from dagster_project.settings.settings_file import load_settings
from dagster_project.wiring.toolbox import open_toolbox
from tests.dagster_project.command_line import run_command
from tests.fakes import tiny_model
from tests.warehouse.rows import SHARD, frame
from toolformer.sources.manifest import Manifest, ShardEntry
from tools.errors import FrozenAnswersError, MissingAnswerError, ToolUnavailableError
from tools.protocol import Document
from tools.registry import TOOL_NAMES
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

TEXT = "The mill ground 6 sacks a day: one two three four five six seven eight nine in all."
REPEATED = TEXT[31:]
SERVER = f'''
from tools.errors import ToolCallError
from tools.yours.function_tool import FunctionTool


def ask(question: str, times: int = 1) -> str:
    """Asks a server."""
    if question == "nothing":
        raise ValueError("The server knows nothing of it.")
    if question == "bug":
        raise RuntimeError("a bug")
    if question == "leak":
        return {REPEATED!r}
    return " ".join([question.upper()] * times)


Server = FunctionTool.from_function(
    ask,
    name="Server",
    version="1",
    examples=[f"It says [Server({{word}})] {{word}}." for word in ("one", "two", "three")],
)
'''
SECTION = {"class": "server_module:Server", "filtering_threshold": 0.0}
ARGUMENTS = {
    "Server": ["a, 2", "nothing", "bug", "leak", "a, 2", "b"],
    "Calculator": ["6 * 7", "1 / 0"],
    "Calendar": [""],
}
VOLATILE = ["duration_ms", "from_cache"]


class BuiltHome:
    """A home whose calls were made, without a model."""

    def __init__(self, root: Path, model: Path):
        self.home = Home(root)
        self.settings = {
            "preset": "laptop",
            "language_model": {"path": str(model)},
            "scoring": {"lowest_threshold": 0.0},
            "tools": {name: {"is_enabled": name in ARGUMENTS} for name in TOOL_NAMES}
            | {"Server": SECTION},
        }
        self.warehouse = Warehouse(self.home.warehouse, self.home.database)
        self.write()

    def write(self, changes: dict | None = None) -> None:
        self.settings = merged(self.settings, changes or {})
        self.home.root.mkdir(exist_ok=True)
        with self.home.settings_file.open("w") as file:
            YAML().dump(self.settings, file)

    def sample(self) -> None:
        """Stores a text and calls in it."""
        entry = ShardEntry(SHARD, "texts.jsonl", 0, 1, "d" * 32, False)
        self.home.sources.mkdir(parents=True)
        Manifest(next_number=1, shards=[entry]).save(self.home.sources)
        self.warehouse.prepare()
        text = frame("documents", {"text": TEXT})
        self.warehouse.replace_slice("documents", SHARD, ALL, text, metadata={FINGERPRINT: "texts"})
        for tool, arguments in ARGUMENTS.items():
            self.sample_of(tool, arguments)

    def sample_of(self, tool: str, arguments: list[str], *, round_number: int = 1) -> None:
        calls = [
            {
                "call_id": f"{tool}-{number}-{round_number}",
                "tool": tool,
                "round": round_number,
                "arguments": each,
                "character_offset": 31,
                "sample_index": number,
            }
            for number, each in enumerate(arguments)
        ]
        self.warehouse.replace_slice(
            "candidate_calls",
            SHARD,
            name_in_round(round_number, tool),
            frame("candidate_calls", *calls),
            metadata={FINGERPRINT: f"calls {arguments}"},
        )

    def execute(self, *, force: bool = False, round_number: int = 1) -> None:
        overrides = {"sampling": {"round": round_number}}
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(str(SHARDS.name), [SHARD])
            dg.materialize(
                [definitions().get_assets_def("executed_calls")],
                partition_key=SHARD,
                instance=instance,
                resources={
                    "settings": SettingsResource(overrides=overrides, force=force),
                    "warehouse": WarehouseResource(),
                    "toolbox": ToolboxResource(),
                    "language_model": LanguageModelResource(),
                },
            )

    def rows(self) -> pl.DataFrame:
        return self.warehouse.read_slices("executed_calls", SHARD).drop(VOLATILE)

    def versions(self) -> set[Path]:
        return {each.path for each in self.warehouse.slices("executed_calls")}

    def fingerprints(self) -> dict[str, str]:
        slices = self.warehouse.slices("executed_calls", SHARD)
        stored = {
            each.name: self.warehouse.slice_metadata("executed_calls", SHARD, each.name)
            for each in slices
        }
        return {name: metadata[FINGERPRINT] for name, metadata in stored.items() if metadata}

    def toolbox(self):
        return open_toolbox(load_settings(self.home.settings_file), self.home)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    made = tiny_model()
    made.model.save_pretrained(folder)
    made.tokenizer.backend.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Folder with a home whose calls were made, and with its answers; copied, never changed."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "server_module.py").write_text(SERVER)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("TOOLFORMER_HOME", str(folder / "home"))
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        made = BuiltHome(folder / "home", model)
        made.sample()
        made.execute()
        freeze_answers(RunOptions(), folder / "answers.parquet", is_forced=False)
    return folder


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside, built: Path, model: Path
) -> BuiltHome:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    outside.module("server_module", SERVER)
    shutil.copytree(built / "home", tmp_path / "home")
    return BuiltHome(tmp_path / "home", model)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    return partial(run_command, capsys, "tools", "freeze", "--output")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.parquet"


@pytest.fixture
def frozen(home: BuiltHome, built: Path, file: Path, outside) -> BuiltHome:
    """The answers are in the file; the server and the cache are gone."""
    shutil.copy(built / "answers.parquet", file)
    (outside.folder / "server_module.py").unlink()
    shutil.rmtree(home.home.tool_results)
    home.write({"execution": {"replay": str(file)}})
    return home


def test_the_answers_are_counted_and_can_be_queried(home: BuiltHome, run, file: Path):
    outcome = run(file)
    assert outcome.code == 0, outcome.err
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in outcome.out.splitlines()
        if line.startswith("│")
    ]
    # The same call twice at one place is one answer.
    assert cells == [
        ["Calculator", "1", "2", "1", "1", "0"],
        ["Calendar", "1", "1", "1", "0", "0"],
        ["Server", "1", "5", "2", "3", "0"],
    ]
    rows = duckdb.sql(f"select arguments, result, reason from '{file}' where tool = 'Server'")
    assert sorted(rows.fetchall()) == [
        ("a, 2", "A A", None),
        ("b", "B", None),
        ("bug", None, "tool_error"),
        ("leak", None, "leak"),
        ("nothing", None, "value_error"),
    ]
    assert run(file).is_one_paragraph_naming("is there already", "--force")
    assert run(file, "--force").code == 0
    assert run(home.home.root / "x").is_one_paragraph_naming("lies in the home")


def test_a_forced_replay_makes_the_same_rows_without_the_tools(frozen: BuiltHome):
    rows, fingerprints = frozen.rows(), frozen.fingerprints()
    versions = frozen.versions()
    assert set(rows["reason"]) == {None, "tool_error", "leak", "value_error", "division_by_zero"}
    frozen.execute(force=True)
    assert frozen.versions().isdisjoint(versions)
    assert frozen.rows().equals(rows)
    assert frozen.fingerprints() == fingerprints
    assert not frozen.home.tool_results.exists()


def test_a_replay_finds_the_slices_of_the_build_up_to_date(frozen: BuiltHome):
    versions = frozen.versions()
    frozen.execute()
    assert frozen.versions() == versions


def test_sampling_goes_on_with_prompt_and_typed_arguments_of_a_tool_that_is_gone(
    frozen: BuiltHome,
):
    toolbox = frozen.toolbox()
    assert list(toolbox.tools) == ["Calculator", "Calendar", "Server"]
    assert toolbox.on_device == frozenset()
    assert "[Server(two)]" in str(toolbox.prompts["Server"])
    server = toolbox.tools["Server"]
    assert server.parse_arguments("question = a,  times=02") == "a, 2"
    assert server.preselect(Document("d", "x")).is_selected
    # Those of the project have their code.
    assert toolbox.tools["Calculator"].parse_arguments("6  * 7") == "6 * 7"
    assert not toolbox.tools["Calendar"].preselect(Document("d", "x")).is_selected


def test_every_round_has_its_own_answers(home: BuiltHome, run, file: Path, outside):
    home.sample_of("Server", ["of two"], round_number=2)
    home.execute(round_number=2)
    assert run(file, "--force").code == 0
    (outside.folder / "server_module.py").unlink()
    home.write({"execution": {"replay": str(file)}})
    rows, versions = home.rows(), home.versions()
    home.execute(force=True)
    home.execute(force=True, round_number=2)
    assert home.rows().equals(rows)
    assert home.versions().isdisjoint(versions)
    home.sample_of("Server", ["b"], round_number=2)
    with pytest.raises(dg.Failure, match=r"Server\(b\)"):
        home.execute(round_number=2)


def test_calls_that_were_given_up_stay_so_and_are_told(home: BuiltHome, run, file: Path):
    stored = home.warehouse.slice_metadata("executed_calls", SHARD, "Server") or {}
    finished = Fingerprint(json.loads(stored[PARTS]))
    rows = home.warehouse.read_slice("executed_calls", SHARD, "Server").with_columns(
        result=None, status=pl.lit("failed"), reason=pl.lit("given_up")
    )
    unfinished = finished.with_part("given_up_calls", rows.height).metadata()
    home.warehouse.replace_slice("executed_calls", SHARD, "Server", rows, metadata=unfinished)
    outcome = run(file)
    assert outcome.code == 0, outcome.err
    assert "5 calls were given up" in outcome.out
    rows, fingerprints = home.rows(), home.fingerprints()
    home.write({"execution": {"replay": str(file)}})
    home.execute()
    assert home.rows().equals(rows)
    assert home.fingerprints() == fingerprints


def test_a_call_that_the_file_lacks_ends_the_stage_and_stores_nothing(frozen: BuiltHome, file):
    frozen.sample_of("Server", ["b", "new"])
    versions = frozen.versions()
    with pytest.raises(dg.Failure) as caught:
        frozen.execute()
    told = str(caught.value.description)
    for part in ("Server(new)", str(file), "execution.replay"):
        assert part in told
    assert frozen.versions() == versions


def test_a_call_while_decoding_follows_the_same_rule(frozen: BuiltHome):
    settings = load_settings(frozen.home.settings_file)
    tools = open_toolbox(settings, frozen.home, while_decoding=True).tools
    assert "published_on" in tools["Calendar"].version
    for name, arguments in (("Calendar", ""), ("Calculator", "6 * 7"), ("Server", "b")):
        with pytest.raises(MissingAnswerError, match=name):
            tools[name].call(arguments, Document("prompt-0", "A prompt."))
    text = Document(
        "other", TEXT, "https://example.org/2020/05/04/results", "Results",
        datetime.date(2020, 5, 4),
    )  # fmt: skip
    assert tools["Server"].call("b", text) == "B"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"execution": {"leak_share": 0.4}}, "execution.leak_share is 0.4 and was 0.5"),
        ({"sampling": {"seed": 7}}, "sampling.seed is 7 and was 0"),
        (
            {"tools": {"Calculator": {"options": {"weak_share": 0.5}}}},
            "tools.Calculator.options.weak_share is 0.5",
        ),
        (
            {"tools": {"Calendar": {"options": {"latest_date": "2024-05-03"}}}},
            "latest_date is '2024-05-03' and was None",
        ),
        ({"tools": {"Server": {"class": "other:Server"}}}, "and was 'server_module:Server'"),
    ],
)
def test_a_tool_with_other_settings_is_refused(frozen: BuiltHome, changes, told):
    frozen.write(changes)
    with pytest.raises(FrozenAnswersError, match="gave under other settings") as caught:
        frozen.toolbox()
    assert told in str(caught.value)


def test_settings_that_change_no_answer_may_change(frozen: BuiltHome):
    frozen.write({"tools": {"Server": {"filtering_threshold": 2.0}}, "execution": {"attempts": 7}})
    assert list(frozen.toolbox().tools) == ["Calculator", "Calendar", "Server"]


def test_a_tool_that_the_file_lacks_is_unavailable(frozen: BuiltHome):
    frozen.write({"tools": {"WikiSearch": {"is_enabled": True}}})
    toolbox = frozen.toolbox()
    assert "has none of its answers in round 1" in toolbox.unavailable["WikiSearch"]
    settings = load_settings(frozen.home.settings_file)
    with pytest.raises(ToolUnavailableError, match="only those of Calculator"):
        open_toolbox(settings, frozen.home, named=("WikiSearch",))


def test_a_replay_builds_no_index(frozen: BuiltHome, capsys):
    frozen.write({"tools": {"WikiSearch": {"is_enabled": True}}})
    outcome = run_command(capsys, "build", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "would be built first" not in outcome.out
    assert "WikiSearch is left out" in outcome.out


def test_a_file_that_is_none_is_one_paragraph(frozen: BuiltHome, file: Path, capsys):
    content = file.read_bytes()
    for damaged in (b"garbage", content[: len(content) // 2]):
        file.write_bytes(damaged)
        for command in (["build", "--dry-run"], ["tools", "list"]):
            outcome = run_command(capsys, *command)
            assert outcome.is_one_paragraph_naming("cannot be read", str(file))


def test_tools_of_a_replay_are_listed_as_such_and_not_frozen_again(
    frozen: BuiltHome, run, tmp_path, capsys
):
    outcome = run_command(capsys, "tools", "list")
    assert outcome.out.count("replayed") == 3
    assert run(tmp_path / "again").is_one_paragraph_naming("execution.replay is", "Copy it")


def test_a_build_that_is_not_finished_is_not_frozen(
    home: BuiltHome, run, file: Path, outside, capsys
):
    home.sample_of("Server", ["a", "b", "c"])
    assert run(file).is_one_paragraph_naming(
        "Server of shard-00000 (changed: candidate calls)", "toolformer build"
    )
    home.execute()
    # What Dagster told.
    capsys.readouterr()
    assert run(file, "--set", "execution.max_result_tokens=7").is_one_paragraph_naming(
        "3 slices", "changed: execution"
    )
    (outside.folder / "server_module.py").unlink()
    assert run(file).is_one_paragraph_naming("Server has answers", "Freeze while it can run")
    assert not list(file.parent.glob("answers.parquet*"))
    outcome = run(file, "--set", "tools.Server.is_enabled=false")
    assert "Left out of round 1: Server" in outcome.out, outcome.err
    footer = duckdb.sql(f"select value from parquet_kv_metadata('{file}')").fetchall()
    told = next(json.loads(value) for (value,) in footer if b'"form"' in value)
    assert [each["name"] for each in told["tools"]] == ["Calculator", "Calendar"]


def test_without_answers_there_is_nothing_to_freeze(tmp_path, monkeypatch, run, file, model: Path):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "empty" / "dagster"))
    assert run(file).is_one_paragraph_naming("no tool answers yet", "toolformer build")
    assert not file.exists()
