"""Homes to break: a tiny model made on the spot, generated texts, small numbers, the real commands.

The model knows nothing. What it writes is pushed towards calls that the tools can answer, so that
calls are kept and every later stage has rows. Does not break anything itself.
"""

import datetime
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_project.home import Home

if TYPE_CHECKING:
    from warehouse.warehouse import Warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
SHARDS = ("shard-00000", "shard-00001", "shard-00002")
TOOLS = ("Calculator", "Calendar")
COMMANDS = ("ingest", "build", "train", "evaluate")
TIME_LIMIT_SECONDS = 240.0
# A traceback, or the stack that a run of Dagster kept of one.
_STACK = re.compile(r'Traceback \(most recent call last\)|File "[^"]+", line \d+, in ')

_TEXTS_PER_SHARD = 4
# Short ones: a token is a byte here, and the prompts that come with the tools are long.
_PROMPTS = {
    "Calculator": "Add calls.\n\nInput: 2 and 3 are 5.\nOutput: 2 and 3 are "
    "[Calculator(2+3)] 5.\n\nInput: {text}\nOutput:",
    "Calendar": "Add calls.\n\nInput: It is May.\nOutput: It is [Calendar()] May.\n\n"
    "Input: {text}\nOutput:",
    "WikiSearch": 'Add calls.\n\nInput: Rome is old.\nOutput: Rome is [WikiSearch("Rome")] '
    "old.\n\nInput: {text}\nOutput:",
}
# Set by the caller's shell; they would lead a command out of its home.
_FOREIGN_VARIABLES = ("DAGSTER_HOME", "TOOLFORMER_HOME", "TOOLFORMER_TEST_DATA")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    output: str

    @property
    def has_traceback(self) -> bool:
        """Whether the user saw the inside of the program."""
        return bool(_STACK.search(self.output))

    @property
    def last_words(self) -> str:
        """The end of the output, on one line."""
        return " ".join(self.output.split())[-800:]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What all homes share, outside of them, so that equal homes have equal rows."""

    model: Path
    texts: Path
    articles: Path
    prompts: Mapping[str, Path]

    @classmethod
    def make(cls, folder: Path, *, seed: int) -> "Ingredients":
        """Make them in a folder."""
        from tests.fakes import save_calling_model

        folder.mkdir(parents=True)
        texts = folder / "texts.jsonl"
        texts.write_text(_lines(generated_texts(seed, _TEXTS_PER_SHARD * len(SHARDS))))
        articles = folder / "articles.jsonl"
        articles.write_text(_lines(generated_articles(seed)))
        prompts = {}
        for tool, prompt in _PROMPTS.items():
            prompts[tool] = folder / f"{tool}.txt"
            prompts[tool].write_text(prompt)
        save_calling_model(folder / "model")
        return cls(folder / "model", texts, articles, prompts)


@dataclass(frozen=True, slots=True)
class FaultyHome:
    """A home, and the commands that are run in it."""

    root: Path

    @property
    def home(self) -> Home:
        """Its folders."""
        return Home(self.root)

    @property
    def warehouse(self) -> "Warehouse":
        """Its tables."""
        from warehouse.warehouse import Warehouse

        return Warehouse(self.home.warehouse, self.home.database)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write `toolformer.yaml`."""
        from ruamel.yaml import YAML

        self.root.mkdir(parents=True, exist_ok=True)
        with self.home.settings_file.open("w") as file:
            YAML().dump(dict(settings), file)

    def start(self, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Start a command in a session of its own; its outputs come as one text."""
        return subprocess.Popen(
            [sys.executable, "-m", "dagster_project.cli", *arguments],
            env={**environment_of(self.root), **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, extra: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end."""
        return finish(self.start(*arguments, extra=extra))

    def copy(self, root: Path) -> "FaultyHome":
        """The same home in another place, where nothing runs."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("locks"))
        return FaultyHome(root)


def finish(process: subprocess.Popen) -> Done:
    """Wait for a command; one that takes too long is killed with all it started."""
    try:
        output, _ = process.communicate(timeout=TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        output += f"\n(killed after {TIME_LIMIT_SECONDS:.0f} s)"
    return Done(process.returncode, output)


def environment_of(root: Path) -> dict[str, str]:
    """Of a command in a home: one thread, so that equal work gives equal digits."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
    return {
        **kept,
        "TOOLFORMER_HOME": str(root),
        "PYTHONPATH": str(REPOSITORY),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "10000",
        "PYTHONUNBUFFERED": "1",
    }


def commands(ingredients: Ingredients) -> dict[str, Sequence[str]]:
    """The four commands from texts to results, in their order."""
    ingest = ("ingest", str(ingredients.texts), "--shard-size", str(_TEXTS_PER_SHARD))
    return {"ingest": ingest, **{name: (name,) for name in COMMANDS[1:]}}


def settings_of(ingredients: Ingredients, *, with_search: bool = False) -> dict[str, Any]:
    """A tiny run in bfloat16 whose uncertain calls are decided in float32."""
    numbers = {
        "sampling_threshold": 0.0,
        "positions_per_text": 3,
        "calls_per_position": 2,
        "filtering_threshold": 0.0,
    }
    tools = {name: {**numbers, "prompt": str(path)} for name, path in ingredients.prompts.items()}
    return {
        "preset": "laptop",
        "language_model": {
            "path": str(ingredients.model),
            "precision": "bfloat16",
            "device": "cpu",
        },
        "corpus": {"window_tokens": 96, "held_out_every": 3},
        # One text per batch: more steps for a checkpoint to keep.
        "sampling": {"max_new_tokens": 12, "windows_per_batch": 1},
        "scoring": {"lowest_threshold": 0.0, "token_budget": 256, "chance_calls": 4},
        "tools": {
            "Calculator": {**tools["Calculator"], "options": {"weak_share": 1.0}},
            "Calendar": tools["Calendar"],
            "WikiSearch": {**tools["WikiSearch"], "is_enabled": with_search},
            "QA": {"is_enabled": False},
            "MT": {"is_enabled": False},
        },
        "wikipedia_index": {"source": str(ingredients.articles)},
        "training": {
            "steps": 4,
            "min_texts": 1,
            "batch_size": 2,
            "max_tokens": 256,
            "evaluate_every": 2,
            "save_every": 1,
            "development_share": 0.4,
            "precision": "float32",
        },
        "evaluation": {"dateset_items": 3, "batch_size": 2},
    }


def generated_texts(seed: int, count: int) -> list[dict[str, str]]:
    """Texts with sums and a date in their address, each in words of its own."""
    chance = random.Random(seed)
    words = ["crates", "bottles", "tickets", "apples", "chairs", "letters", "stamps", "bricks"]
    texts = []
    for number in range(count):
        first, second = chance.randrange(10, 99), chance.randrange(2, 9)
        day = datetime.date(2016, 1, 1) + datetime.timedelta(days=chance.randrange(2000))
        thing, other = chance.sample(words, 2)
        name = "".join(chance.choices("bcdfgklmnprst", k=3)) + chance.choice("aeiou")
        texts.append(
            {
                "text": f"{name.title()} {number} sold {first} {thing} for {second} each, that is "
                f"{first * second}; {first + second} {other} stayed.",
                "url": f"https://{name}.example/{day:%Y/%m/%d}/{number}",
            }
        )
    return texts


def generated_articles(seed: int) -> list[dict[str, str]]:
    """What a search index is made of."""
    return [
        {"title": f"Article {number}", "text": each["text"]}
        for number, each in enumerate(generated_texts(seed + 1, 6))
    ]


def _lines(records: Sequence[Mapping[str, str]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)
