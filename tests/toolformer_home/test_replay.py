"""A build that answers from the `executed_calls` of a home after the tools are gone."""

import json
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.materialising import materialise
from tests.warehouse.rows import SHARD, frame
from toolformer.files.digests import hex_digest
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer_home.fingerprints import FINGERPRINT, Fingerprint
from toolformer_home.home import Home
from toolformer_home.settings.settings_file import load_settings
from toolformer_home.wiring.toolbox import open_toolbox
from tools.errors import MissingAnswerError, ReplayError
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
from tools.plugins.function_tool import FunctionTool


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
ARGUMENTS = {
    "Server": ["a, 2", "nothing", "bug", "leak", "a, 2", "b"],
    "Calculator": ["6 * 7", "1 / 0"],
    "Calendar": [""],
}
VOLATILE = ["duration_ms", "from_cache"]


class BuiltHome:
    """A home whose calls were made, without a model."""

    def __init__(self, root: Path, tiny: Path, **execution: object):
        self.home = Home(root)
        self.warehouse = Warehouse(self.home.warehouse, self.home.database)
        tools = {name: {"is_enabled": name in ARGUMENTS} for name in TOOL_NAMES}
        settings = {
            "language_model": {"path": str(tiny)},
            "tools": tools | {"Server": {"class": "server_module:Server"}},
            "execution": execution,
        }
        root.mkdir(exist_ok=True)
        self.home.settings_file.write_text(json.dumps(settings))

    def toolbox(self, **options):
        return open_toolbox(load_settings(self.home.settings_file), self.home, **options)

    def sample(self) -> None:
        """Stores a text and calls in it."""
        entry = ShardEntry(SHARD, "texts.jsonl", 0, 1, "d" * 32, False)
        self.home.sources.mkdir(parents=True)
        Manifest(next_number=1, shards=[entry]).save(self.home.sources)
        self.warehouse.prepare()
        text = frame("documents", {"text": TEXT})
        self.warehouse.replace_partition(
            "documents", SHARD, ALL, text, metadata={FINGERPRINT: "texts"}
        )
        for tool, arguments in ARGUMENTS.items():
            self.sample_of(tool, arguments)

    def sample_of(self, name: str, arguments: list[str], *, round_number: int = 1) -> None:
        shared = {"tool": name, "round": round_number, "character_offset": 31}
        calls = [
            {"call_id": f"{name}-{number}-{round_number}", "sample_index": number, **shared}
            | {"arguments": each}
            for number, each in enumerate(arguments)
        ]
        toolbox = self.toolbox()
        prompt, tool = str(toolbox.prompts[name]), toolbox.tools[name]
        digest = hex_digest(prompt)
        stored = pl.DataFrame([{"digest": digest, "text": prompt}])
        self.warehouse.replace_partition("prompts", ALL, digest, stored, metadata={})
        version = tool.sampling_version or tool.version
        made_of = {"tool_version": version, "prompt": digest, "proposals": None}
        fingerprint = Fingerprint.of(made_of | {"arguments": arguments})
        address = "candidate_calls", SHARD, name_in_round(round_number, name)
        self.warehouse.replace_partition(
            *address, frame("candidate_calls", *calls), metadata=fingerprint.metadata()
        )

    def execute(self, *, force: bool = False, round_number: int = 1) -> None:
        overrides = {"sampling": {"round": round_number}}
        materialise("executed_calls", overrides=overrides, partition=SHARD, force=force)

    def rows(self) -> pl.DataFrame:
        return self.warehouse.read_partitions("executed_calls", SHARD).drop(VOLATILE)

    def fingerprint(self, table: str, name: str) -> str:
        return (self.warehouse.partition_metadata(table, SHARD, name) or {})[FINGERPRINT]

    def stored(self) -> dict[str, tuple[Path, str]]:
        """File and fingerprint of each partition of answers."""
        return {
            each.name: (each.path, self.fingerprint("executed_calls", each.name))
            for each in self.warehouse.partitions("executed_calls", SHARD)
        }


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside, tiny: Path) -> BuiltHome:
    """A home whose calls were made in two rounds, with the server still there."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "built"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    outside.module("server_module", SERVER)
    home = BuiltHome(tmp_path / "built", tiny)
    home.sample()
    home.execute()
    home.sample_of("Server", ["of two"], round_number=2)
    home.execute(round_number=2)
    return home


@pytest.fixture
def home(built: BuiltHome, tmp_path: Path, monkeypatch, outside, tiny: Path) -> BuiltHome:
    """A copy of the home that answers from it; the server and the cache are gone."""
    shutil.copytree(built.home.root, tmp_path / "home")
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    (outside.folder / "server_module.py").unlink()
    home = BuiltHome(tmp_path / "home", tiny, replay=str(built.home.root))
    shutil.rmtree(home.home.tool_results)
    return home


def test_a_replay_makes_the_same_rows_of_each_round_without_the_tools(home: BuiltHome):
    rows, stored = home.rows(), home.stored()
    of_tools = {"tool_error", "value_error", "division_by_zero"}
    assert set(rows["reason"]) == {None, "leak", "peeks", *of_tools}
    for number in (1, 2):
        home.execute(round_number=number)
    assert home.stored() == stored
    for number in (1, 2):
        home.execute(force=True, round_number=number)
    assert home.rows().equals(rows)
    again = home.stored()
    assert {name: digest for name, (_, digest) in again.items()} == {
        name: digest for name, (_, digest) in stored.items()
    }
    assert all(again[name] != stored[name] for name in stored)
    assert not home.home.tool_results.exists()


# The other one has its answer in another round.
@pytest.mark.parametrize("arguments", ["new", "of two"])
def test_a_call_without_an_answer_ends_the_stage_and_stores_nothing(
    home: BuiltHome, built: BuiltHome, arguments: str
):
    calls = home.warehouse.read_partition("candidate_calls", SHARD, "Server")
    new = calls.with_columns(arguments=pl.lit(arguments))
    metadata = home.warehouse.partition_metadata("candidate_calls", SHARD, "Server") or {}
    home.warehouse.replace_partition("candidate_calls", SHARD, "Server", new, metadata=metadata)
    stored = home.stored()
    with pytest.raises(dg.Failure) as caught:
        home.execute(force=True)
    for part in (f"Server({arguments})", str(built.home.root), "execution.replay"):
        assert part in str(caught.value.description)
    assert home.stored()["Server"] == stored["Server"]


def test_another_text_under_the_same_id_has_no_answers(home: BuiltHome):
    changed = frame("documents", {"text": f"{TEXT} More."})
    metadata = {FINGERPRINT: "texts"}
    home.warehouse.replace_partition("documents", SHARD, ALL, changed, metadata=metadata)
    with pytest.raises(dg.Failure, match="has none to"):
        home.execute(force=True)


def test_a_call_while_decoding_has_no_answer(home: BuiltHome):
    tools = home.toolbox(while_decoding=True).tools
    assert "published_on" in tools["Calendar"].version
    for name, arguments in (("Calendar", ""), ("Calculator", "6 * 7"), ("Server", "b")):
        with pytest.raises(MissingAnswerError, match=f"No answer of {name}: only calls of a build"):
            tools[name].call(arguments, Document("prompt-0", "A prompt."))


def test_answers_under_other_settings_are_refused(home: BuiltHome, built: BuiltHome, tiny: Path):
    other = BuiltHome(home.home.root, tiny, replay=str(built.home.root), leak_share=0.4)
    with pytest.raises(ReplayError, match=r"execution.leak_share is 0.4, and was 0.5"):
        other.toolbox()


def test_answers_of_two_versions_are_no_finished_build(home: BuiltHome, built: BuiltHome):
    calls = {"candidate_calls": built.fingerprint("candidate_calls", "Server")}
    other = Fingerprint.of({"tool_version": "0", **calls}).metadata()
    for table in ("candidate_calls", "executed_calls"):
        rows = built.warehouse.read_partition(table, SHARD, "Server")
        rows = rows.with_columns(shard=pl.lit("shard-00001"))
        built.warehouse.replace_partition(table, "shard-00001", "Server", rows, metadata=other)
    with pytest.raises(ReplayError, match="its shards differ in"):
        home.toolbox()
