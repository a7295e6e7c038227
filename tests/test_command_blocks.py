"""Every ```bash block of README.md, docs/first-hour.md and docs/how-to is run as it stands.

The blocks of a page are one bash script, as a reader would type them. `toolformer` in it hands the
command to this process, where everything is imported already. All presets have a tiny model, and
the settings of the page's yaml blocks. A block below `<!-- not run: REASON -->` is parsed only.
"""

import gzip
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing.connection import Client, Listener
from pathlib import Path
from time import sleep

import httpx2 as httpx
import pytest
from click import Context
from ruamel.yaml import YAML

from dagster_project import cli
from dagster_project.examples import EXAMPLES
from tests.conftest import REPOSITORY
from tests.homes import generated_texts, small_settings
from toolformer.settings import presets
from toolformer.settings.sections import merged
from toolformer.settings.settings_file import preset_values

PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs" / "first-hour.md"]
PAGES += sorted((REPOSITORY / "docs" / "how-to").glob("*.md"))
BLOCK = re.compile(r"(?ms)^(?:<!-- not run: ([^\n]+) -->\n)?```(\w*)\n(.*?)^```$")
PRESETS = {name: preset_values(name) for name in presets.PRESETS}
SHORT = {"prompt": "short", "sampling_threshold": 0.0, "positions_per_text": 1}
FEW = {
    "tools": {"Calculator": SHORT, "Calendar": SHORT, "WikiSearch": {"is_enabled": False}},
    "sampling": {"windows_per_batch": 8},
    "training": {
        "steps": 2,
        "min_texts": 1,
        "batch_size": 2,
        "max_tokens": 256,
        "learning_rate": 1e-4,
    },
    "evaluation": {"benchmarks": ["sums"], "items": 2},
    "decoding": {"max_new_tokens": 4, "min_call_probability": 0.1},
}
# In place of the installed command.
COMMAND = f"""#!{sys.executable} -IS
import os, sys
from multiprocessing.connection import Client
with Client(os.environ["TESTED_BY"], "AF_UNIX") as tests:
    tests.send((sys.argv[1:], os.getcwd(), dict(os.environ)))
    code, out, err = tests.recv()
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
SERVER = """
import datetime
from dagster_project import cli
from toolformer.settings.presets import PRESETS
PRESETS.update({presets!r})
cli.main({arguments!r})
"""


def blocks(page: Path, language: str, *, is_run: bool = True) -> list[str]:
    """The texts of a page's blocks in a language, those that are run or the others."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for why, of, text in found if of == language and is_run == (not why)]


class Shell:
    """Runs scripts whose `toolformer` is this process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.address = str(folder / "socket")
        self.environment = {
            **os.environ,
            "TESTED_BY": self.address,
            "HOME": str(folder),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "TOOLFORMER_HOME": str(folder / "toolformer-news"),
        }
        self.server: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def run(self, script: str) -> None:
        """Run a script in bash, which shows each command before it runs it."""
        with Listener(self.address, "AF_UNIX") as listener, ThreadPoolExecutor(1) as pool:
            command = ["bash", "-euxo", "pipefail", "-c", script.replace(":8000", f":{self.port}")]
            options = {"cwd": self.folder, "env": self.environment, "capture_output": True}
            running = pool.submit(subprocess.run, command, **options, text=True)
            running.add_done_callback(lambda _: Client(self.address, "AF_UNIX").close())
            while not running.done():
                with listener.accept() as asked, suppress(EOFError):  # The script has ended.
                    asked.send(self._outcome(*asked.recv()))
        if self.server is not None:
            # Others wait for the device that it holds.
            self.server.terminate()
            self.server.wait()
            self.server = None
        done = running.result()
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"

    def _outcome(self, arguments: list[str], folder: str, environment: dict[str, str]) -> tuple:
        """Run a command as its own process would; its exit code and what it prints."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(folder)
            patch.setenv("DAGSTER_HOME", "")  # The command sets it; this puts it back.
            for name, value in environment.items():
                patch.setenv(name, value)
            for path in filter(None, environment.get("PYTHONPATH", "").split(":")):
                patch.syspath_prepend(path)
            if arguments[0] == "serve":
                return self._serve(arguments), "", ""
            with pytest.raises(SystemExit) as exited:
                cli.main(arguments)
        return int(exited.value.code or 0), out.getvalue(), err.getvalue()

    def _serve(self, arguments: list[str]) -> int:
        """Start it; the commands behind it ask it, and the end of the script ends it."""
        arguments = [*arguments, "--port", str(self.port)]
        program = SERVER.format(presets=presets.PRESETS, arguments=arguments)
        self.server = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY)
        while self.server.poll() is None:
            sleep(0.05)
            with suppress(httpx.ConnectError):
                return not httpx.get(f"http://127.0.0.1:{self.port}/health").is_success
        return self.server.returncode


def lines(*records: object) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Iterator[Shell]:
    """A folder with what the pages name, and a home with a trained model."""
    from tests.fakes import save_calling_model

    folder = tmp_path_factory.mktemp("reader")
    texts = [{"body": each.pop("text"), **each} for each in generated_texts(0, 6)]
    problem = {"Body": "There are 2 eggs.", "Question": "How many eggs?", "Answer": 2}
    for name, contents in {
        ".venv/bin/activate": b"",
        "bin/toolformer": COMMAND.encode(),
        "news/texts.jsonl.gz": gzip.compress(lines(*texts)),
        "my_prompt.txt": b"Input: 2\nOutput: [Calculator(1+1)] 2\n\nInput: {text}\nOutput:",
        "benchmarks/SVAMP.json": json.dumps([problem]).encode(),
        "model/chat_template.jinja": b"{% for turn in messages %}{{ turn.content }}.{% endfor %}",
        "benchmarks/kitchen.jsonl": lines({"q": "What is 1 + 1?", "a": "2"}),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
    (folder / "bin" / "toolformer").chmod(0o755)
    (folder / "data").symlink_to("toolformer-news")
    tiny = merged(small_settings(save_calling_model(folder / "model"), folder), FEW)
    del tiny["preset"], tiny["corpus"]["sources"], tiny["corpus"]["held_out_every"]
    with pytest.MonkeyPatch.context() as patch:
        for name, values in PRESETS.items():
            patch.setitem(presets.PRESETS, name, merged(values, {**tiny, "preset": None}))
        shell = Shell(folder)
        shell.run("toolformer ingest 'news/*.jsonl.gz' --text-column body --shard-size 3")
        shell.run("toolformer build; toolformer train")
        yield shell


@pytest.fixture
def home_as_built(shell: Shell) -> Iterator[None]:
    """A page may change the settings and build again; the next one finds the home as it was."""
    home = Path(shell.environment["TOOLFORMER_HOME"])
    kept = Path(shutil.copytree(home, home.with_name("kept"), symlinks=True))
    yield
    shutil.rmtree(home)
    kept.rename(home)


@pytest.mark.slow
@pytest.mark.usefixtures("home_as_built")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(shell: Shell, page: Path, monkeypatch):
    for text in blocks(page, "yaml"):
        settings = YAML(typ="safe").load(text.replace("~", str(shell.folder)))
        settings.pop("preset", None)
        for name, values in presets.PRESETS.items():
            monkeypatch.setitem(presets.PRESETS, name, merged(values, settings))
    shell.run("\n".join(blocks(page, "bash")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_other_commands_of_a_page_have_the_right_flags(page: Path):
    parsed_commands("\n".join(blocks(page, "bash", is_run=False)))


def parsed_commands(script: str) -> list[Context]:
    """The commands of `toolformer` in a script; fails on one that its command line would refuse."""
    commands = []
    for line in re.findall(r"\btoolformer (.+)", script):
        command = cli.program()
        words = shlex.split(re.split("&&| > ", line)[0], comments=True)
        context = command.make_context("toolformer", words)
        # Behind a command that is no group: those of another program.
        while hasattr(command, "commands") and (words := [*context._protected_args, *context.args]):
            name, command, words = command.resolve_command(context, words)
            context = command.make_context(name, words, parent=context)
        commands.append(context)
    return commands


def test_the_help_of_every_command_has_an_example_with_the_right_flags():
    commands = {name: cli.command(name) for lines in cli.PANELS.values() for name in lines}
    paths = [
        path
        for name, group in commands.items()
        for path in [f"{name} {below}" for below in getattr(group, "commands", ())] or [name]
    ]
    assert {*paths} == set(EXAMPLES)
    for path, lines in EXAMPLES.items():
        assert all(f"toolformer {path}" in line for line in lines)
        parsed_commands("\n".join(lines))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_it_is_not(page: Path):
    text = page.read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    assert len(found) * 2 == len(re.findall(r"^\s*```", text, re.MULTILINE))
    assert {"sh", "shell", "console"}.isdisjoint(language for _, language, _ in found)
    assert text.count("<!-- not run") == sum(bool(reason) for reason, _, _ in found)
