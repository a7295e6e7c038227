"""A build that answers from the `executed_calls` of a home after the tools are gone."""

import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from ruamel.yaml import YAML

from dagster_project.fingerprints import FINGERPRINT, Fingerprint
from dagster_project.home import Home
from dagster_project.settings.sections import merged
from dagster_project.settings.settings_file import load_settings
from dagster_project.wiring.toolbox import open_toolbox
from tests.materialising import materialise
from tests.warehouse.rows import SHARD, frame
from toolformer.files.digests import hex_digest
from toolformer.sources.manifest import Manifest, ShardEntry
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

    def __init__(self, root: Path, tiny: Path):
        self.home = Home(root)
        self.settings = {
            "preset": "laptop",
            "language_model": {"path": str(tiny)},
            "scoring": {"lowest_threshold": 0.0},
            "tools": {name: {"is_enabled": name in ARGUMENTS} for name in TOOL_NAMES}
            | {"Server": {"class": "server_module:Server"}},
        }
        self.warehouse = Warehouse(self.home.warehouse, self.home.database)
        self.write()

    def write(self, changes: dict | None = None) -> None:
        self.settings = merged(self.settings, changes or {})
        self.home.root.mkdir(exist_ok=True)
        with self.home.settings_file.open("w") as file:
            YAML().dump(self.settings, file)

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
        calls = [
            {
                "call_id": f"{name}-{number}-{round_number}",
                "tool": name,
                "round": round_number,
                "arguments": each,
                "character_offset": 31,
                "sample_index": number,
            }
            for number, each in enumerate(arguments)
        ]
        toolbox = self.toolbox()
        prompt, tool = str(toolbox.prompts[name]), toolbox.tools[name]
        digest = hex_digest(prompt)
        stored = pl.DataFrame([{"digest": digest, "text": prompt}])
        self.warehouse.replace_partition("prompts", ALL, digest, stored, metadata={})
        made_of = {
            "tool_version": tool.sampling_version or tool.version,
            "prompt": digest,
            "proposals": None,
            "arguments": arguments,
        }
        self.warehouse.replace_partition(
            "candidate_calls",
            SHARD,
            name_in_round(round_number, name),
            frame("candidate_calls", *calls),
            metadata=Fingerprint.of(made_of).metadata(),
        )

    def execute(self, *, force: bool = False, round_number: int = 1) -> None:
        overrides = {"sampling": {"round": round_number}}
        materialise("executed_calls", overrides=overrides, partition=SHARD, force=force)

    def rows(self) -> pl.DataFrame:
        return self.warehouse.read_partitions("executed_calls", SHARD).drop(VOLATILE)

    def stored(self) -> dict[str, tuple[Path, str]]:
        """File and fingerprint of each partition of answers."""
        return {
            each.name: (
                each.path,
                (self.warehouse.partition_metadata("executed_calls", SHARD, each.name) or {})[
                    FINGERPRINT
                ],
            )
            for each in self.warehouse.partitions("executed_calls", SHARD)
        }


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside, tiny: Path) -> BuiltHome:
    """A home whose calls were made, with the server still there."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "built"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    outside.module("server_module", SERVER)
    home = BuiltHome(tmp_path / "built", tiny)
    home.sample()
    home.execute()
    return home


def replay(built: BuiltHome, tmp_path: Path, monkeypatch, outside, tiny: Path) -> BuiltHome:
    """A copy of the home that answers from it; the server and the cache are gone."""
    shutil.copytree(built.home.root, tmp_path / "home")
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    (outside.folder / "server_module.py").unlink()
    home = BuiltHome(tmp_path / "home", tiny)
    shutil.rmtree(home.home.tool_results)
    home.write({"execution": {"replay": str(built.home.root)}})
    return home


@pytest.fixture
def home(built: BuiltHome, tmp_path: Path, monkeypatch, outside, tiny: Path) -> BuiltHome:
    return replay(built, tmp_path, monkeypatch, outside, tiny)


def test_a_replay_makes_the_same_rows_without_the_tools(home: BuiltHome):
    rows, stored = home.rows(), home.stored()
    assert set(rows["reason"]) == {None, "tool_error", "leak", "value_error", "division_by_zero"}
    home.execute()
    assert home.stored() == stored
    home.execute(force=True)
    assert home.rows().equals(rows)
    again = home.stored()
    assert {name: digest for name, (_, digest) in again.items()} == {
        name: digest for name, (_, digest) in stored.items()
    }
    assert all(again[name] != stored[name] for name in stored)
    assert not home.home.tool_results.exists()


def test_every_round_has_its_own_answers(
    built: BuiltHome, tmp_path: Path, monkeypatch, outside, tiny: Path
):
    built.sample_of("Server", ["of two"], round_number=2)
    built.execute(round_number=2)
    home = replay(built, tmp_path, monkeypatch, outside, tiny)
    rows = home.rows()
    home.execute(force=True)
    home.execute(force=True, round_number=2)
    assert home.rows().equals(rows)


def test_a_call_without_an_answer_ends_the_stage_and_stores_nothing(
    home: BuiltHome, built: BuiltHome
):
    calls = home.warehouse.read_partition("candidate_calls", SHARD, "Server")
    new = calls.with_columns(arguments=pl.lit("new"))
    metadata = home.warehouse.partition_metadata("candidate_calls", SHARD, "Server") or {}
    home.warehouse.replace_partition("candidate_calls", SHARD, "Server", new, metadata=metadata)
    stored = home.stored()
    with pytest.raises(dg.Failure) as caught:
        home.execute(force=True)
    for part in ("Server(new)", str(built.home.root), "execution.replay"):
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


def test_answers_under_other_settings_are_refused(home: BuiltHome):
    home.write({"execution": {"leak_share": 0.4}})
    with pytest.raises(ReplayError, match=r"execution.leak_share is 0.4, and was 0.5"):
        home.toolbox()


def test_answers_of_two_versions_are_no_finished_build(home: BuiltHome, built: BuiltHome):
    rows = built.warehouse.read_partition("executed_calls", SHARD, "Server").with_columns(
        shard=pl.lit("shard-00001")
    )
    calls = built.warehouse.read_partition("candidate_calls", SHARD, "Server").with_columns(
        shard=pl.lit("shard-00001")
    )
    metadata = built.warehouse.partition_metadata("candidate_calls", SHARD, "Server") or {}
    address = "shard-00001", "Server"
    built.warehouse.replace_partition("candidate_calls", *address, calls, metadata=metadata)
    parts = {"tool_version": "0", "candidate_calls": metadata[FINGERPRINT]}
    other = Fingerprint.of(parts).metadata()
    built.warehouse.replace_partition("executed_calls", *address, rows, metadata=other)
    with pytest.raises(ReplayError, match="its shards differ in"):
        home.toolbox()
