"""The `toolformer` command: what it prints, and what a mistake looks like."""

import csv
import io
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from signal import SIGINT

import dagster as dg
import pytest
import typer
from ruamel.yaml import YAML

from dagster_project import cli, commands
from dagster_project.runs.run_job import dagster_instance
from tests.conftest import REPOSITORY
from tests.dagster_project.command_line import Outcome
from tests.fakes import save_taught_model
from tests.warehouse.rows import SHARD, new_warehouse, put, save_manifest
from toolformer.home.home import Home
from toolformer.sources.manifest import Manifest
from warehouse.warehouse import Warehouse

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

INTERRUPTED = "Error: Interrupted. Finished work is kept. Run the same command again to continue."
TEXTS = [
    {"text": f"On day {n} the mill ground {n} sacks, {2 * n} in two days.", "url": "https://a.org/"}
    for n in range(1, 5)
]


@pytest.fixture
def home(home: Home) -> Path:
    return home.root


def write_settings(home: Path, settings: dict) -> bytes:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "toolformer.yaml").open("w") as file:
        YAML().dump(settings, file)
    return (home / "toolformer.yaml").read_bytes()


@pytest.fixture
def texts(tmp_path) -> Path:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    return file


@pytest.fixture
def rows(home: Path) -> None:
    """One call, from document to augmented text."""
    warehouse = new_warehouse(home)
    calls = ("candidate_calls", "executed_calls", "filtered_calls")
    for table in ("documents", *calls, "augmented_texts"):
        put(warehouse, table)


def test_a_flag_with_a_mistake_is_named(run):
    for flag, change, parts in (
        ("--set", "tools.Calulator.filtering_threshold=0.5", ("'tools.Calulator'", "'Calculator'")),
        ("--set", "sampling.seed", ("'sampling.seed'", "NAME=VALUE")),
        ("--set", "sampling.seed=[&a [x], *a]", ("sampling.seed",)),
        ("--set", "sampling.seed=" + "9" * 5_000, ("sampling.seed",)),
    ):
        assert run("build", flag, change).is_one_paragraph_naming(*parts)


def test_the_help_has_the_commands_in_four_panels(run):
    outcome = run()
    assert "tools" in outcome.out + outcome.err
    help_text = run("--help")
    assert help_text.code == 0
    names = [name for panel, lines in cli.PANELS.items() for name in (f"─ {panel} ", *lines)]
    places = [help_text.out.index(name if "─" in name else f"│ {name} ") for name in names]
    assert places == sorted(places)
    assert help_text.out.count("─ ") == 1 + len(cli.PANELS)


def test_every_command_of_a_module_is_in_the_help_with_the_line_of_its_own_help():
    of_modules = {}
    for found in pkgutil.iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{found.name}")
        if isinstance(getattr(module, "app", None), typer.Typer):
            (name,) = typer.main.get_group(module.app).commands
            assert name == found.name
            of_modules[name] = (cli.command(name).help or "").partition("\n\n")[0]
    assert of_modules == {
        name: line for lines in cli.PANELS.values() for name, line in lines.items()
    }


def test_the_shell_completes_commands_and_values():
    for words, completed in (
        ("toolformer tr", "train"),
        ("toolformer train --variant sh", "shuffled"),
    ):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            [Path(sys.executable).with_name("toolformer")],
            env={**os.environ, **asked, "_TOOLFORMER_COMPLETE": "complete_bash"},
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == [completed]


def test_a_misspelt_setting_in_the_file_is_named(run, home: Path):
    before = write_settings(home, {"sampling": {"temperatur": 1.0}})
    for arguments in (
        ["build", "--dry-run"],
        ["train"],
        ["evaluate"],
        ["complete", "x"],
        ["tools", "list"],
        ["ingest", str(home)],
    ):
        outcome = run(*arguments)
        assert outcome.is_one_paragraph_naming(
            "'sampling.temperatur'", "Did you mean 'temperature'?", "toolformer.yaml"
        )
    assert (home / "toolformer.yaml").read_bytes() == before


def test_a_misspelt_tool_is_named_before_anything_is_made(run, home: Path):
    for arguments in (
        ["build", "--tools", "Calulator"],
        ["complete", "x", "--tools", "Calculator,Calulator"],
    ):
        outcome = run(*arguments)
        assert outcome.is_one_paragraph_naming("'Calulator'", "Did you mean 'Calculator'?")
    assert not (home / "sources").exists()


INTERRUPTED_IN_A_STAGE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import assets.corpus
from dagster_project.cli import main

def update_manifest(*_, **__):
    print("ready", flush=True)
    time.sleep(60)

assets.corpus.update_manifest = update_manifest
main(["ingest", sys.argv[1]])
"""


def interrupted(code: str, *arguments: str) -> tuple[int, str]:
    """Exit code and errors of code that gets a Ctrl-C, with all processes that it started."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            os.killpg(process.pid, SIGINT)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, told.strip()


def test_an_interrupt_of_a_stage_shows_no_traceback_of_another_process(home: Path, texts: Path):
    assert interrupted(INTERRUPTED_IN_A_STAGE, str(texts)) == (130, INTERRUPTED)


@pytest.mark.parametrize("state", ["new", "new and shared", "killed at first use", "partly built"])
def test_a_dry_run_writes_nothing_in_the_home(
    run, home: Path, texts: Path, monkeypatch, state: str
):
    if state == "new and shared":
        monkeypatch.setenv("TOOLFORMER_CACHE", str(home / "cache"))
    if state in ("killed at first use", "partly built"):
        run("ingest", str(texts))
    if state == "killed at first use":
        shutil.rmtree(home / "warehouse" / "stage_costs")
    if state == "partly built":
        warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
        for table in ("documents", "candidate_calls"):
            put(warehouse, table, fingerprint="of other settings")
    before = tree(home)
    # Not the texts of a new home, whose markup takes long to read.
    sources = f"corpus.sources=[{{path: {texts}}}]"
    outcome = run("build", "--dry-run", "--tools", "Calculator", "--set", sources)
    assert outcome.code == 0, outcome.err
    assert "model would be converted first" in outcome.out
    assert tree(home) == before


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of the last change of all that is there."""
    states = {path: path.stat() for path in (folder, *folder.rglob("*")) if path.exists()}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


def test_a_source_that_cannot_be_used_leaves_the_settings_as_they_were(
    run, home: Path, texts: Path, tmp_path
):
    assert run("ingest", str(texts)).code == 0
    before = (home / "sources.json").read_bytes()
    manifest = (home / "sources" / "manifest.json").read_bytes()
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    folder = tmp_path / "folder"
    folder.mkdir()
    other = tmp_path / "other.jsonl"
    other.write_bytes(texts.read_bytes())
    for arguments, parts in (
        ([str(tmp_path / "missing.jsonl")], ["missing.jsonl"]),
        ([str(tmp_path / "*.jsonl.gz")], ["*.jsonl.gz"]),
        ([str(empty)], ["empty.jsonl"]),
        ([str(broken)], ["broken.parquet"]),
        ([str(folder)], [str(folder)]),
        ([str(other), "--text-column", "body"], ["no column 'body'", "text, url"]),
        ([str(other), "--date-column", "created"], ["no column 'created'", "text, url"]),
    ):
        outcome = run("ingest", *arguments)
        assert outcome.code == 1, arguments
        assert outcome.is_one_paragraph_naming(*parts)
        assert (home / "sources.json").read_bytes() == before
        assert (home / "sources" / "manifest.json").read_bytes() == manifest


def test_a_query_prints_a_table_json_and_csv(run, rows: None, monkeypatch):
    query = (
        "-- The tools = all of them.\n"
        "select tool, arguments, null as nothing, 1.5 as half from candidate_calls;\n"
    )
    assert "400 / 1400" in run("sql", query).out
    (record,) = json.loads(run("sql", query, "--json").out)
    assert record == {"tool": "Calculator", "arguments": "400 / 1400", "nothing": None, "half": 1.5}
    header, line = csv.reader(io.StringIO(run("sql", query, "--csv").out))
    assert header == ["tool", "arguments", "nothing", "half"]
    assert line == ["Calculator", "400 / 1400", "", "1.5"]
    (record,) = json.loads(run("sql", "from augmented_texts", "--json").out)
    assert record["calls"][0]["tool"] == "Calculator"

    def piped(content: bytes) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return run("sql", "-", "--csv")

    assert piped(b"\xef\xbb\xbf" + query.encode()).out.splitlines()[1].startswith("Calculator,")
    assert piped(b" \n").is_one_paragraph_naming("Standard input is empty")
    assert "DuckDB refused the query" in piped(b"\xff").err


def test_the_report_is_an_asset_of_the_ui_unless_it_is_written_elsewhere(
    run, home: Path, rows: None, tmp_path
):
    elsewhere = tmp_path / "report.html"
    assert run("report", "--output", str(elsewhere)).code == 0
    with dagster_instance(Home(home)) as instance:
        assert not instance.get_latest_materialization_event(dg.AssetKey("report"))
    outcome = run("report")
    assert "Calculator: 100 % of 1 calls kept" in outcome.out
    assert str(home / "report.html") in outcome.out
    with dagster_instance(Home(home)) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("report"))
    assert (home / "report.html").stat().st_size == elsewhere.stat().st_size
    (home / "report.html").unlink()
    (home / "report.html").mkdir()
    assert run("report").is_one_paragraph_naming(str(home / "report.html"), "--output")


def test_damage_is_named_and_so_is_a_lost_file(run, home: Path, rows: None, caplog):
    folder = home / "warehouse" / "candidate_calls" / f"shard={SHARD}"
    [damaged] = folder.glob("Calculator-*.parquet")
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert run("doctor").code == 1
    caplog.clear()
    assert run("sql", "select count(*) as n from candidate_calls", "--json").code == 0
    assert damaged.name in caplog.text
    assert "Its rows are left out" in caplog.text
    assert not damaged.exists()
    assert run("doctor").code == 1


def test_shards_of_the_manifest_without_a_catalogue_are_told(
    run, home: Path, rows: None, caplog, tmp_path
):
    lost = f"The rows of 1 of 2 shards are left out, since the shards have no catalogue: {SHARD}."
    put(Warehouse(home / "warehouse", home / "warehouse.duckdb"), "documents", shard="shard-00001")
    entries = save_manifest(home / "sources", SHARD, "shard-00001", "shard-00002")
    Manifest(shards=[*entries[:2], replace(entries[2], status="retired")]).save(home / "sources")
    file = home / "warehouse" / "catalogue" / f"{SHARD}.json"
    content = file.read_bytes()
    commands = (
        ("sql", "select count(*) as n from documents"),
        ("stats",),
        ("report", "--output", str(tmp_path / "report.html")),
        ("compare", str(home), str(home)),
    )
    for command in commands:
        file.write_bytes(content)
        caplog.clear()
        assert run(*command).code == 0
        assert "no catalogue" not in caplog.text
        file.unlink()
        run(*command)
        assert lost in caplog.text
    assert SHARD in run("doctor").out
    (home / "sources" / "manifest.json").write_text("{}")
    assert run("sql", "select count(*) as n from documents").code == 0
    assert "Cannot check whether rows of shards are missing. The manifest" in caplog.text


def test_complete_with_a_model_that_was_not_calibrated_makes_no_call_and_says_so_once(
    run, tmp_path, caplog
):
    lesson = "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say."
    directory = save_taught_model(tmp_path / "taught", [lesson])
    command = ["complete", "6 times 7 is", "--tools", "Calculator", "--model", str(directory)]
    outcome = run(*command)
    assert outcome.code == 0, outcome.err
    assert "[" not in outcome.out
    (line,) = [line for line in caplog.messages if "No call opens" in line]
    assert str(directory) in line
    by_rank_alone = run(*command, "--set", "decoding.min_call_probability=0")
    assert lesson in by_rank_alone.out
    assert len([line for line in caplog.messages if "No call opens" in line]) == 1
