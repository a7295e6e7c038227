"""The `toolformer` command: what it prints, and what a mistake looks like."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from signal import SIGINT, raise_signal

import pytest
from ruamel.yaml import YAML

from dagster_project.cli import PANELS
from dagster_project.wiring.model_holder import ModelHolder
from tests.conftest import REPOSITORY
from tests.dagster_project.command_line import Outcome, run_command
from tests.fakes import save_taught_model, save_tiny_model
from tests.warehouse.rows import SHARD, frame
from toolformer.ground.kept_digests import keep_digests
from tools.registry import TOOL_NAMES
from warehouse.errors import StoreError
from warehouse.warehouse import Warehouse

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

INTERRUPTED = (
    "Error: Interrupted. What was finished is kept, and the same command goes on from there."
)
VECTORS = REPOSITORY / "tests" / "vectors" / "vectors.json"
TEXTS = [
    {"text": f"On day {n} the mill ground {n} sacks, {2 * n} in two days.", "url": "https://a.org/"}
    for n in range(1, 5)
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "home"
    monkeypatch.setenv("TOOLFORMER_HOME", str(root))
    monkeypatch.setenv("DAGSTER_HOME", str(root / "dagster"))
    return root


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process."""
    return partial(run_command, capsys)


def write_settings(home: Path, settings: dict) -> bytes:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "toolformer.yaml").open("w") as file:
        YAML().dump(settings, file)
    return (home / "toolformer.yaml").read_bytes()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    return file


@pytest.fixture
def rows(home: Path) -> None:
    """One call, from document to augmented text."""
    warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
    warehouse.prepare()
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        warehouse.replace_partition(table, SHARD, "Calculator", frame(table), metadata={})
    for table in ("documents", "augmented_texts"):
        warehouse.replace_partition(table, SHARD, "all", frame(table), metadata={})


# Help


def test_the_help_has_the_commands_in_four_panels(run):
    outcome = run()
    assert "check-vectors" in outcome.out + outcome.err
    help_text = run("--help")
    assert help_text.code == 0
    names = [name for panel, names in PANELS.items() for name in (f"─ {panel} ", *names)]
    places = [help_text.out.index(name if "─" in name else f"│ {name} ") for name in names]
    assert places == sorted(places)
    assert help_text.out.count("─ ") == 1 + len(PANELS)


def test_h_is_short_for_help_everywhere_and_q_and_v_stand_behind_every_command(run):
    groups = ("evaluate lm-eval", "tools try", "sources list", "prompts compare", "cluster sweep")
    for command in ("", *(name for names in PANELS.values() for name in names), *groups):
        short, long = run(*command.split(), "-h"), run(*command.split(), "--help")
        assert short.code == 0
        assert short.out == long.out
        assert "Usage" in short.out
        assert "--quiet" in short.out
        assert "--verbose" in short.out
    outcome = run("-q", "tools", "try", "Calculator", "6 * 7", "-v")
    assert (outcome.code, outcome.out) == (0, "[Calculator(6 * 7) -> 42]\n")


def test_the_version_is_told(run):
    outcome = run("--version")
    assert outcome.code == 0
    assert outcome.out == f"toolformer {version('toolformer')}\n"


def test_of_a_benchmark_that_comes_with_the_project_no_file_is_asked_for(run):
    listed = json.loads(run("evaluate", "--list", "--json").out)
    (row,) = (row for row in listed if row["benchmark"] == "unseen-tool")
    assert (row["questions"], row["runs"]) == ("embedded", "")
    assert "unseen-tool" in run("evaluate", "--list").out


def test_an_unknown_command_or_option_is_a_usage_error(run):
    for arguments in (
        ["bild"],
        ["build", "--sharts", "x"],
        ["rounds"],
        ["evaluate", "--study", "depth"],
        ["evaluate", "--study", "k", "--models", "base"],
        ["evaluate", "--limit", "3", "lm-eval", "--tasks", "nq_open"],
        ["export", "text"],
        ["export", "delta", "--force"],
        ["ingest", "x", "--format", "xml"],
        ["ingest", "x", "--shard-size", "0"],
    ):
        outcome = run(*arguments)
        assert outcome.code == 2
        assert "Traceback" not in outcome.err


# Settings


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


def test_a_flag_with_a_mistake_is_named(run):
    for flag, change, parts in (
        ("--set", "tools.Calulator.filtering_threshold=0.5", ("'tools.Calulator'", "'Calculator'")),
        ("--set", "sampling.seed", ("'sampling.seed'", "NAME=VALUE")),
        ("--set", "=5", ("'=5'", "NAME=VALUE")),
        ("--set", "sampling.seed=-1", ("sampling.seed = -1",)),
        ("--set", "sampling=5", ("sampling = 5",)),
        *(
            ("--set", f"sampling.seed={value}", (f"sampling.seed={value}",))
            for value in ("[1", "9" * 5_000, "[&a [x], *a]", "2024-99-99")
        ),
        ("--preset", "labtop", ("'labtop'", "paper, laptop, demo")),
    ):
        assert run("build", flag, change).is_one_paragraph_naming(*parts)


def test_a_file_that_is_no_yaml_is_named(run, home: Path):
    home.mkdir()
    (home / "toolformer.yaml").write_text("preset: [")
    assert run("build").is_one_paragraph_naming("toolformer.yaml", "not valid YAML")


def test_a_home_that_is_a_file_is_named(run, home: Path):
    home.write_text("no folder")
    for arguments in (["stats"], ["build"]):
        assert run(*arguments).is_one_paragraph_naming(str(home))


# Tools


def test_a_misspelt_tool_is_named_before_anything_is_made(run, home: Path):
    for arguments in (
        ["build", "--tools", "Calulator"],
        ["complete", "x", "--tools", "Calculator,Calulator"],
    ):
        outcome = run(*arguments)
        assert outcome.is_one_paragraph_naming("'Calulator'", "Did you mean 'Calculator'?")
    assert not (home / "sources").exists()


def test_a_tool_that_cannot_run_is_an_error_where_it_is_named(run, home: Path):
    weights = f"tools.MT.options.model_directory={home / 'no-weights'}"
    outcome = run("build", "--tools", "MT", "--set", weights)
    assert outcome.is_one_paragraph_naming("MT", "unavailable", "no-weights")


def test_tools_are_listed_with_their_settings_and_state(run):
    outcome = run("tools", "list", "--json")
    assert outcome.code == 0
    states = {row["tool"]: row["state"] for row in json.loads(outcome.out)}
    assert set(states) == set(TOOL_NAMES)
    assert states["Calculator"] == "available"
    assert all("available" in state for state in states.values())


# Sources


def test_an_interrupt_says_that_nothing_is_lost(run, texts, monkeypatch):
    monkeypatch.setattr("assets.corpus.update_manifest", lambda *_, **__: raise_signal(SIGINT))
    # A process that really ends takes the test with it.
    monkeypatch.setattr("os._exit", sys.exit)
    outcome = run("ingest", str(texts))
    assert outcome.code == 130
    assert outcome.err.strip() == INTERRUPTED


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
    run, home: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, state: str
):
    if state == "new and shared":
        monkeypatch.setenv("TOOLFORMER_CACHE", str(home / "cache"))
    if state in ("killed at first use", "partly built"):
        run("ingest", str(texts))
    if state == "killed at first use":
        shutil.rmtree(home / "warehouse" / "stage_costs")
    if state == "partly built":
        warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
        for table, name in (("documents", "all"), ("candidate_calls", "Calculator")):
            metadata = {"fingerprint": "of other settings"}
            warehouse.replace_partition(table, SHARD, name, frame(table), metadata=metadata)
    before = tree(home)
    outcome = run("build", "--dry-run", "--tools", "Calculator")
    assert outcome.code == 0, outcome.err
    assert "model would be converted first" in outcome.out
    assert tree(home) == before


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of the last change of all that is there."""
    states = {path: path.stat() for path in (folder, *folder.rglob("*")) if path.exists()}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


def test_sources_are_cut_into_shards_once(run, home: Path, texts: Path):
    outcome = run("ingest", str(texts), "--shard-size", "2")
    assert outcome.code == 0, outcome.err
    assert "2 new shards with 4 records; 0 shards were there before." in outcome.out
    sources = (home / "sources.yaml").read_text()
    assert str(texts) in sources
    again = run("ingest", str(texts))
    assert "0 new shards with 0 records; 2 shards were there before." in again.out
    assert (home / "sources.yaml").read_text() == sources


def test_a_source_that_cannot_be_used_leaves_the_settings_as_they_were(
    run, home: Path, texts: Path, tmp_path: Path
):
    assert run("ingest", str(texts)).code == 0
    before = (home / "sources.yaml").read_bytes()
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
        ([str(other), "--text-column", "body"], ["body"]),
    ):
        outcome = run("ingest", *arguments)
        assert outcome.code == 1, arguments
        assert outcome.is_one_paragraph_naming(*parts)
        assert (home / "sources.yaml").read_bytes() == before
        assert (home / "sources" / "manifest.json").read_bytes() == manifest


def test_a_source_that_can_be_used_is_kept_beside_one_that_cannot(
    run, home: Path, texts: Path, tmp_path: Path
):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    outcome = run("ingest", str(empty), str(texts))
    assert outcome.is_one_paragraph_naming("empty.jsonl")
    assert "1 new shards with 4 records" in outcome.out
    sources = (home / "sources.yaml").read_text()
    assert str(texts) in sources
    assert "empty.jsonl" not in sources
    again = run("ingest", str(texts)).out
    assert f"{texts} is listed already" in again
    assert "0 new shards" in again


# Shards and models


def test_a_shard_that_was_never_cut_is_named(run, home: Path, texts: Path):
    write_settings(home, {"corpus": {"sources": [{"path": str(texts)}]}})
    outcome = run("build", "--tools", "Calendar", "--shards", "shard-99999")
    assert outcome.is_one_paragraph_naming("'shard-99999'", "shard-00000")


def test_a_model_folder_without_weights_is_named(run, home: Path, texts: Path, tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    settings = {
        "corpus": {"sources": [{"path": str(texts)}]},
        "language_model": {"path": str(model)},
    }
    write_settings(home, settings)
    for arguments in (["build", "--tools", "Calendar"], ["complete", "x", "--model", "base"]):
        outcome = run(*arguments)
        assert outcome.is_one_paragraph_naming(str(model), "weights", "safetensors")
    write_settings(home, {**settings, "language_model": {"path": str(tmp_path / "nowhere")}})
    outcome = run("build", "--tools", "Calendar")
    assert outcome.is_one_paragraph_naming("nowhere", "language_model.path")


def test_the_finetuned_model_is_not_there_before_training(run):
    outcome = run("complete", "x", "--model", "finetuned")
    assert outcome.is_one_paragraph_naming("no finetuned model", "toolformer train", "--model base")


def test_a_round_without_its_annotator_is_named(run, home: Path, texts: Path):
    settings = {"corpus": {"sources": [{"path": str(texts)}]}}
    write_settings(home, {**settings, "sampling": {"round": 2, "annotator": "elsewhere"}})
    outcome = run("build", "--tools", "Calendar")
    assert outcome.is_one_paragraph_naming(
        "sampling.annotator", f"'{home / 'elsewhere'}'", "base, finetuned"
    )
    outcome = run("complete", "x", "--model", "finetuned")
    assert outcome.is_one_paragraph_naming("no finetuned model of round 2", "toolformer train")
    outcome = run(
        "build", "--set", "sampling.uses_prompt=false", "--set", "sampling.annotator=base"
    )
    assert outcome.is_one_paragraph_naming("sampling.uses_prompt", "sampling.annotator")


def test_what_is_wrong_with_a_completion_is_named_before_anything_is_loaded(
    run, home: Path, tmp_path: Path, monkeypatch
):
    # Nor does it wait for a device that a build holds.
    monkeypatch.setattr(ModelHolder, "hold_device", lambda *_: pytest.fail("the device is held"))
    write_settings(home, {"language_model": {"path": "/nowhere"}})
    outcome = run("complete", "x", "--model", "base", "--today", "31.5.2024")
    assert outcome.is_one_paragraph_naming("'31.5.2024' is not a date", "YYYY-MM-DD")
    outcome = run("complete", "x", "--model", str(tmp_path / "nothing"))
    assert outcome.is_one_paragraph_naming("no model directory", "nothing")


def test_training_and_evaluating_too_early_say_what_comes_first(run, home: Path, texts: Path):
    write_settings(home, {"corpus": {"sources": [{"path": str(texts)}]}})
    assert run("train").is_one_paragraph_naming("no augmented texts", "toolformer build")


@pytest.mark.slow
def test_settings_that_do_not_fit_the_context_are_named_with_what_would(
    run, home: Path, texts: Path, tmp_path: Path
):
    model = save_tiny_model(tmp_path / "model", context_length=2048)
    write_settings(
        home,
        {
            "corpus": {"sources": [{"path": str(texts)}], "window_tokens": 5000},
            "language_model": {"path": str(model), "precision": "float32"},
            "tools": {"Calculator": {"prompt": "short", "options": {"weak_share": 1}}},
        },
    )
    outcome = run("build", "--tools", "Calculator")
    assert outcome.code == 1
    assert "corpus.window_tokens to at most" in outcome.err
    assert "Traceback" not in outcome.err


# The warehouse


def test_a_query_prints_a_table_json_and_csv(run, rows: None):
    query = "select tool, arguments, null as nothing, 1.5 as half from candidate_calls"
    table = run("sql", query)
    assert table.code == 0
    assert "400 / 1400" in table.out
    (record,) = json.loads(run("sql", query, "--json").out)
    assert record == {
        "tool": "Calculator",
        "arguments": "400 / 1400",
        "nothing": None,
        "half": 1.5,
    }
    header, line = csv.reader(io.StringIO(run("sql", query, "--csv").out))
    assert header == ["tool", "arguments", "nothing", "half"]
    assert line == ["Calculator", "400 / 1400", "", "1.5"]


def test_a_query_loads_no_library_of_frames(rows: None):
    code = (
        "import sys; from dagster_project.commands.querying import show_rows; "
        "show_rows('from documents', file=None, output='json'); "
        "sys.exit(bool({'polars', 'pyarrow', 'numpy'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_dates_and_calls_can_be_printed_as_json(run, rows: None):
    (record,) = json.loads(run("sql", "from documents", "--json").out)
    assert record["published_on"] == "2020-05-04"
    (record,) = json.loads(run("sql", "from augmented_texts", "--json").out)
    assert record["calls"][0]["tool"] == "Calculator"


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_dates_without_end_are_printed(run, rows: None, form: tuple[str, ...]):
    printed = run("sql", "select timestamp 'infinity' as t, 'nan'::float as n", *form)
    assert printed.code == 0
    assert "infinity" in printed.out
    assert "NaN" not in printed.out


def test_a_query_may_begin_with_comments(run, rows: None):
    for query in (
        "-- The tools = all of them.\nselect tool from candidate_calls",
        "--\nselect tool from candidate_calls -- the end",
        "/* The tools. */ select tool from candidate_calls where 'é;' <> ';' ; ;\n-- the end;\n",
    ):
        assert json.loads(run("sql", query, "--json").out) == [{"tool": "Calculator"}]
    assert run("sql", "-- only a comment").is_one_paragraph_naming("nothing")


def test_a_query_comes_from_standard_input_or_a_file(run, rows: None, tmp_path: Path, monkeypatch):
    query = b"\xef\xbb\xbf-- The tools.\nselect tool from candidate_calls;\n"
    file = tmp_path / "tools.sql"
    file.write_bytes(query)
    from_file = run("sql", "--file", str(file), "--csv")
    assert from_file.out.split() == ["tool", "Calculator"]
    for arguments in (["sql", "-"], ["sql"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(query)))
        assert run(*arguments, "--csv").out == from_file.out


def test_a_query_that_is_missing_or_no_text_is_named(run, rows: None, tmp_path: Path, monkeypatch):
    file = tmp_path / "tools.sql"
    assert run("sql", "--file", str(file)).is_one_paragraph_naming("tools.sql", "No such file")
    file.write_bytes(b"\xff\xfe")
    assert run("sql", "--file", str(file)).is_one_paragraph_naming("tools.sql", "UTF-8")
    outcome = run("sql", "select 1", "--file", str(file))
    assert outcome.is_one_paragraph_naming("two queries", "tools.sql")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert run("sql").is_one_paragraph_naming("standard input is empty")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert run("sql").is_one_paragraph_naming("no query", "--file")


def test_a_query_may_only_read(run, home: Path, rows: None):
    before = {path: path.read_bytes() for path in home.rglob("*.parquet")}
    for query in (
        "delete from documents",
        "drop view documents",
        "create table x as select 1",
        "copy documents to 'x.csv'",
        "select 1; select 2",
        "attach 'x.duckdb'",
        "",
    ):
        assert run("sql", query).is_one_paragraph_naming()
    assert {path: path.read_bytes() for path in home.rglob("*.parquet")} == before


def test_a_query_with_a_mistake_is_named(run, rows: None):
    assert run("sql", "select too from candidate_calls").is_one_paragraph_naming("too")
    assert run("sql", "select * from candidates").is_one_paragraph_naming("candidates")


def test_statistics_of_an_empty_and_of_a_filled_home(run, home: Path, request):
    assert run("stats").code == 0
    request.getfixturevalue("rows")
    outcome = run("stats")
    assert outcome.code == 0
    assert "Calculator" in outcome.out
    assert "Kept calls above chance, in their text" in outcome.out
    assert "round" not in outcome.out


def test_statistics_tell_money_where_there_is_a_price(run, home: Path, rows: None):
    assert "Cost" not in run("stats").out
    (home / "toolformer.yaml").write_text("costs: {price_per_hour: 2.5}\n")
    out = run("stats").out
    assert "Cost, at 2.5 an hour" in out
    assert "money" in out


def test_statistics_name_the_round_where_there_are_two(run, home: Path, rows: None):
    warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
    second = {"call_id": "c2", "round": 2}
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        later = frame(table, second)
        warehouse.replace_partition(table, SHARD, "round-2.Calculator", later, metadata={})
    out = run("stats").out
    assert "round" in out
    for of in ("Calculator", "Calculator, round 2"):
        assert f"{of}: none of 1 kept calls is shown, since chance was not measured" in out


def test_damage_is_named_and_gone_with_the_file(run, home: Path, rows: None):
    folder = home / "warehouse" / "candidate_calls" / f"shard={SHARD}"
    [damaged] = folder.glob("Calculator@*.parquet")
    damaged.write_bytes(damaged.read_bytes()[:-10])
    outcome = run("sql", "from candidate_calls")
    assert outcome.is_one_paragraph_naming(damaged.name, "Remove it")
    assert run("doctor").code == 1
    damaged.unlink()
    assert run("sql", "from candidate_calls").code == 0


# Doctor and vectors


def test_doctor_speaks_json(run, home: Path):
    outcome = run("doctor", "--json")
    assert outcome.code == 0
    findings = json.loads(outcome.out)
    assert {"name", "status", "detail", "remedy", "files"} == set(findings[0])
    assert {each["status"] for each in findings} <= {"ok", "warning", "missing"}
    assert {f"tool {name}" for name in TOOL_NAMES} <= {each["name"] for each in findings}
    assert not home.exists()


def test_the_full_examination_names_damaged_files_and_ends_with_1(run, home: Path):
    folder = home / "models" / "toolformer"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    keep_digests(folder)
    assert run("doctor", "--full").code == 0
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert run("doctor").code == 0
    outcome = run("doctor", "--full", "--json")
    assert outcome.code == 1
    files = [file for each in json.loads(outcome.out) for file in each["files"]]
    assert files == [str(folder / "model.safetensors")]


def test_vectors_pass(run):
    outcome = run("check-vectors", str(VECTORS))
    assert outcome.code == 0, outcome.out
    assert outcome.out.strip().endswith("passed, 0 failed")


def test_a_changed_vector_fails(run, tmp_path: Path):
    content = json.loads(VECTORS.read_text())
    case = content["weights"][0]
    case["expected"] = dict.fromkeys(case["expected"], 0.123)
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps(content))
    outcome = run("check-vectors", str(file))
    assert outcome.code == 1
    assert outcome.out.strip().endswith(" passed, 1 failed")
    assert case["id"] in outcome.out


def test_the_installed_command_ends_with_one_paragraph(home: Path):
    done = subprocess.run(
        [Path(sys.executable).with_name("toolformer"), "build", "--tools", "Calulator"],
        env={**os.environ, "TOOLFORMER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert Outcome(done.returncode, done.stdout, done.stderr).is_one_paragraph_naming("Calulator")


def test_doctor_says_that_the_object_store_is_away_and_looks_at_what_is_local(
    run, home: Path, rows, monkeypatch: pytest.MonkeyPatch
):
    store = "s3://bucket/home"
    # The rows are copies of what is there.
    (home / "warehouse" / "copy-of").write_text(store)
    monkeypatch.setenv("TOOLFORMER_STORE", store)

    def away(_url: str) -> None:
        raise StoreError(f"The object store {store!r} does not answer.")

    monkeypatch.setattr("warehouse.store.objects.ObjectStore", away)
    outcome = run("doctor", "--json")
    assert outcome.code == 0, outcome.err
    found = {each["name"]: each for each in json.loads(outcome.out)}
    assert found["object store"]["status"] == "missing"
    assert "'s3://bucket/home' does not answer" in found["object store"]["detail"]
    assert "no damage in 5 partitions" in found["partitions"]["detail"]


def test_complete_with_a_model_that_was_not_calibrated_makes_no_call_and_says_so_once(
    run, tmp_path: Path, caplog: pytest.LogCaptureFixture
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
