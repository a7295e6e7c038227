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
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from time import sleep
from typing import Any

import httpx2 as httpx
import pytest
from ruamel.yaml import YAML

from dagster_project import cli
from dagster_project.settings import presets
from dagster_project.settings.sections import merged
from dagster_project.settings.settings_file import preset_values
from tests.assets.conftest import small_settings
from tests.conftest import REPOSITORY
from tests.fakes import save_calling_model
from tests.faults.home import generated_articles, generated_texts

PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs" / "first-hour.md"]
PAGES += sorted((REPOSITORY / "docs" / "how-to").glob("*.md"))
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>\S.*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PRESETS = {name: preset_values(name) for name in presets.PRESETS}
SHORT = {"prompt": "short", "sampling_threshold": 0.0, "positions_per_text": 1}
# In place of the installed command.
COMMAND = f"""#!{sys.executable} -IS
import os, sys
from multiprocessing.connection import Client
with Client(os.environ["TESTED_BY"], "AF_UNIX") as tests:
    tests.send((sys.argv[1:], os.getcwd(), dict(os.environ), sys.stdin.read()))
    code, out, err = tests.recv()
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


def blocks(page: Path, language: str, *, is_run: bool = True) -> list[str]:
    """The texts of a page's blocks in a language, those that are run or the others."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        each["text"]
        for each in found
        if each["language"] == language and is_run == (each["reason"] is None)
    ]


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
            running = pool.submit(
                subprocess.run,
                ["bash", "-euxo", "pipefail", "-c", script.replace(":8000", f":{self.port}")],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            running.add_done_callback(lambda _: Client(self.address, "AF_UNIX").close())
            while not running.done():
                with listener.accept() as command:
                    self._answer(command)
            done = running.result()
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"

    def _answer(self, command: Connection) -> None:
        try:
            arguments, folder, environment, piped = command.recv()
        except EOFError:  # The script has ended.
            return
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "stdin", io.StringIO(piped))
            patch.chdir(folder)
            patch.setenv("DAGSTER_HOME", "")  # The command sets it; it is put back afterwards.
            for name, value in environment.items():
                patch.setenv(name, value)
            for path in filter(None, environment.get("PYTHONPATH", "").split(":")):
                patch.syspath_prepend(path)
            if arguments[0] == "serve":
                code = self._serve(arguments)
            else:
                with pytest.raises(SystemExit) as exited:
                    cli.main(arguments)
                code = exited.value.code or 0
        command.send((code, out.getvalue(), err.getvalue()))

    def _serve(self, arguments: list[str]) -> int:
        """Start it once; the commands behind it ask it, and the end of the tests ends it."""
        if self.server is None:
            arguments = [*arguments, "--port", str(self.port)]
            program = (
                "from dagster_project import cli; from dagster_project.settings.presets import "
                f"PRESETS; PRESETS.update({presets.PRESETS!r}); cli.main({arguments!r})"
            )
            self.server = subprocess.Popen([sys.executable, "-c", program])
        while self.server.poll() is None:
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/health").status_code != 200
            except httpx.ConnectError:
                sleep(0.05)
        return self.server.returncode


def tiny_settings(folder: Path) -> dict[str, Any]:
    """Small numbers and the tiny model, written below the folder; without texts of its own."""
    settings = small_settings(save_calling_model(folder / "model"), folder)
    del settings["preset"], settings["corpus"]["sources"], settings["corpus"]["held_out_every"]
    articles = write(folder / "articles.jsonl", *generated_articles(0))
    return merged(
        settings,
        {
            "tools": dict.fromkeys(("WikiSearch", "Calendar", "Calculator"), SHORT),
            "wikipedia_index": {"source": str(articles)},
            "training": {"steps": 2, "min_texts": 1, "batch_size": 2, "max_tokens": 256},
            "evaluation": {"benchmarks": ["sums"], "dateset_items": 2, "items": 2},
            "decoding": {"max_new_tokens": 4, "min_call_probability": 0.1},
        },
    )


def write(file: Path, *lines: object) -> Path:
    """A text, or records as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(text), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder with what the pages name, and a home with a trained model."""
    folder = tmp_path_factory.mktemp("reader")
    write(folder / ".venv" / "bin" / "activate", "")
    write(folder / "bin" / "toolformer", COMMAND).chmod(0o755)
    texts = [{"body": each.pop("text"), **each} for each in generated_texts(0, 6)]
    news = write(folder / "news" / "texts.jsonl", *texts)
    news.with_suffix(".jsonl.gz").write_bytes(gzip.compress(news.read_bytes()))
    news.unlink()
    write(
        folder / "my_prompt.txt",
        "Add.\n\nInput: 2\nOutput: [Calculator(1+1)] 2\n\nInput: {text}\nOutput:",
    )
    questions = folder / "benchmarks"
    write(questions / "SVAMP.json", [{"Body": "Two eggs.", "Question": "How many?", "Answer": 2}])
    cloze = {"masked_sentence": "Rome lies in [MASK].", "obj_label": "Italy"}
    write(questions / "TREx" / "P17.jsonl", {"evidences": [cloze], **cloze})
    write(questions / "kitchen.jsonl", {"q": "What is 1 + 1?", "a": "2"})
    write(questions / "wiki.valid.raw", "A text.")
    (folder / "data").symlink_to("toolformer-news")
    tiny = tiny_settings(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, values in PRESETS.items():
            patch.setitem(presets.PRESETS, name, (None, merged(values, tiny)))
        shell = Shell(folder)
        shell.run(
            "toolformer ingest 'news/*.jsonl.gz' --text-column body --shard-size 3\n"
            "toolformer build\ntoolformer train"
        )
        yield shell
    if shell.server is not None:
        shell.server.terminate()
        shell.server.wait()


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(
    shell: Shell, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in blocks(page, "yaml"):
        settings = YAML(typ="safe").load(text.replace("~", str(shell.folder)))
        settings.pop("preset", None)
        for name, (_, values) in presets.PRESETS.items():
            monkeypatch.setitem(presets.PRESETS, name, (None, merged(values, settings)))
    shell.run("\n".join(blocks(page, "bash")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_other_commands_of_a_page_are_parsed(page: Path) -> None:
    for text in blocks(page, "bash", is_run=False):
        for line in text.replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            while "toolformer" in words:
                del words[: words.index("toolformer") + 1]
                end = min(
                    (words.index(sign) for sign in ("&&", "|") if sign in words), default=None
                )
                command, arguments = cli._complete_command(), words[:end]
                context = command.make_context("toolformer", list(arguments))
                while hasattr(command, "resolve_command") and context._protected_args:
                    rest = [*context._protected_args, *context.args]
                    name, command, arguments = command.resolve_command(context, rest)
                    context = command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_it_is_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = [each["language"] for each in BLOCK.finditer(text)]
    assert len(found) * 2 == len(re.findall(r"^\s*```", text, re.MULTILINE))
    assert not {"sh", "shell", "console", "zsh"}.intersection(found)
    assert text.count("<!-- not run") == sum(
        each["reason"] is not None for each in BLOCK.finditer(text)
    )
