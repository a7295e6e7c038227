"""What a person may give by mistake: one clear message, no traceback, and nothing is made."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.dagster_project.conftest import Run
from toolformer.base.regular_files import read_regular
from toolformer.errors import DeviceError
from toolformer.forward.devices import check_device
from toolformer.home.home import Home
from toolformer.settings.errors import SettingsError
from toolformer.settings.settings_file import load_settings, write_settings_file
from tools.errors import PromptError
from tools.prompting import load_prompt

SETTINGS = "preset: demo\n# mine\n"


@pytest.mark.parametrize("path", ["missing/../home", "a/b/../../home", "./home/../home", "link"])
def test_a_path_through_what_is_not_there_finds_the_home(tmp_path, monkeypatch, path: str):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    (home / "toolformer.yaml").write_text(SETTINGS)
    monkeypatch.setenv("TOOLFORMER_HOME", f"{tmp_path}/{path}")
    found = Home.find()
    assert found.root == home
    write_settings_file(found.settings_file, preset="laptop")
    assert found.settings_file.read_text() == SETTINGS
    assert {each.name for each in tmp_path.iterdir()} == {"home", "link"}


def test_a_settings_file_is_never_written_where_one_is(tmp_path, monkeypatch):
    file = tmp_path / "toolformer.yaml"
    file.write_text(SETTINGS)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    write_settings_file(file, preset="laptop")
    assert file.read_text() == SETTINGS


def test_a_file_system_without_links_takes_new_files_too(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", link)
    write_settings_file(tmp_path / "a", preset="demo")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    write_settings_file(tmp_path / "a", preset="laptop")
    assert load_settings(tmp_path / "a").preset == "demo"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \t\n", b"\xef\xbb\xbf"])
def test_empty_settings_are_refused(tmp_path, content: bytes):
    file = tmp_path / "toolformer.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="is empty"):
        load_settings(file)
    file.write_text("# All of the preset.\n")
    assert load_settings(file).preset == "laptop"


def test_a_link_to_settings_that_are_gone_is_no_home_without_settings(tmp_path):
    (tmp_path / "toolformer.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        load_settings(tmp_path / "toolformer.yaml")


READING = (
    ("stats",),
    ("sql", "select 1"),
    ("report",),
    ("explain", "abc", "--no-model"),
    ("export", "text", "--output", "x"),
    ("sources", "list"),
    ("sources", "remove", "x"),
    ("train",),
)


@pytest.mark.parametrize("state", ["missing", "another folder"])
def test_a_command_that_reads_makes_no_home(run, home: Home, state: str):
    if state == "another folder":
        home.root.mkdir()
        (home.root / "letter.txt").touch()
    before = set(home.root.parent.rglob("*"))
    for arguments in READING:
        assert run(*arguments).is_one_paragraph_naming(str(home.root), "TOOLFORMER_HOME")
        assert set(home.root.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "named", [b"/tmp/\xff", b"/tmp/caf\xe9/home", b"/tmp/" + b"/".join([b"a" * 100] * 6)]
)
def test_a_home_that_databases_cannot_open_is_refused(run, monkeypatch, named: bytes):
    monkeypatch.setenv("TOOLFORMER_HOME", os.fsdecode(named))
    assert run("tools", "list").is_one_paragraph_naming("Error: TOOLFORMER_HOME is ")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "mps:3", "xla", "gpu", "", "meta"])
def test_a_device_that_is_not_there_is_named(device: str):
    with pytest.raises(DeviceError, match=r"language_model\.device"):
        check_device(device)


@pytest.mark.parametrize("named", ["/dev/zero", "pipe", "folder", "long", "missing"])
def test_a_file_that_settings_name_is_regular_and_bounded(tmp_path, named: str):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "long").write_text("x" * (2**20 + 1))
    file = tmp_path / named
    with pytest.raises(OSError, match=named):
        read_regular(file, maximum_bytes=2**20)
    with pytest.raises(PromptError, match=named):
        load_prompt("Calculator", file)


def test_commands_that_come_first_at_the_same_time_make_the_records_once(tmp_path):
    code = (
        "from toolformer.home.home import Home\n"
        "from dagster_project.runs.run_job import dagster_instance\n"
        "with dagster_instance(Home.find()) as instance: instance.get_runs()\n"
    )
    environment = {**os.environ, "TOOLFORMER_HOME": str(tmp_path / "home")}
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [command.communicate()[1].decode() for command in commands]
    assert [command.returncode for command in commands] == [0] * 2, said


def own_model(run: Run, home: Home, tmp_path: Path, model: Path) -> None:
    """A home that has a text, and this model in its settings."""
    home.root.mkdir()
    content = {"preset": "laptop", "language_model": {"path": str(model), "device": "cpu"}}
    home.settings_file.write_text(json.dumps(content))
    text = tmp_path / "texts.txt"
    text.write_text("Six crates of 24 bottles make 144 bottles in all.\n")
    assert run("ingest", text).code == 0


def test_a_build_on_a_device_that_is_not_there_says_so_before_weights_are_read(
    run: Run, home: Home, tmp_path, monkeypatch
):
    from tests.fakes import save_tiny_model

    own_model(run, home, tmp_path, save_tiny_model(tmp_path / "tiny", context_length=4096))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", pytest.fail)
    built = run("build", "--tools", "Calendar", "--set", "language_model.device=cuda:99")
    assert built.is_one_paragraph_naming("language_model.device is 'cuda:99'", "Expected")


@pytest.mark.parametrize(
    ("context", "window", "said"),
    [(512, 64, "no window fits"), (4096, 2000, "corpus.window_tokens to at most")],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_window_without_room_beside_the_prompt_is_said_before_weights_are_read(
    run: Run, home: Home, tmp_path, monkeypatch, context, window, said, dry
):
    from tests.fakes import save_tiny_model

    own_model(run, home, tmp_path, save_tiny_model(tmp_path / "tiny", context_length=context))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", pytest.fail)
    size = f"corpus.window_tokens={window}"
    built = run("build", "--tools", "Calendar", "--set", size, *dry)
    assert built.is_one_paragraph_naming("A prompt of", "(Calendar)", str(context))
    assert said in " ".join(built.err.split())
