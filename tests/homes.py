"""Small homes: generated texts, settings for a tiny model, and the environment of their commands.

The model knows nothing. What it writes is pushed towards calls that the tools can answer, so that
calls are kept and every later stage has rows.
"""

import datetime
import json
import os
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.conftest import REPOSITORY
from toolformer.home.home import Home

if TYPE_CHECKING:
    from warehouse.warehouse import Warehouse

TOOLS = ("WikiSearch", "Calendar", "Calculator")
# Of the caller's shell, what could lead a process out of its home or make its rows others.
_FOREIGN = ("TOOLFORMER_", "DAGSTER_", "AWS_", "PG", "RAY_", "OMP_")


class SmallHome:
    """A home with its folders and tables."""

    def __init__(self, root: Path):
        self.root = root
        self.home = Home(root)

    @property
    def warehouse(self) -> "Warehouse":
        from warehouse.warehouse import Warehouse

        return Warehouse(self.home.warehouse, self.home.database)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        from ruamel.yaml import YAML

        self.root.mkdir(parents=True, exist_ok=True)
        with self.home.settings_file.open("w") as file:
            YAML().dump(dict(settings), file)

    def copy(self, root: Path) -> Self:
        """The same home in another place, where nothing runs."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("locks"))
        return type(self)(root)


def environment_of(home: Path) -> dict[str, str]:
    """Of a command in a home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **kept,
        "TOOLFORMER_HOME": str(home),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        # One thread, so that equal work gives equal digits.
        "OMP_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "10000",
        "PYTHONUNBUFFERED": "1",
    }


def command(module: str, *arguments: str) -> list[str]:
    """A command of the project, by the module that is run."""
    return [sys.executable, "-m", f"dagster_project.{module}", *arguments]


def small_settings(model: Path, corpus: Path) -> dict[str, Any]:
    """A tiny build: k = m = 2, short windows and calls, a low threshold, so that calls are kept."""
    tool = {"positions_per_text": 2, "calls_per_position": 2, "filtering_threshold": 0.0}
    return {
        "preset": "laptop",
        # Named, so that nothing is measured and all machines make the same rows.
        "language_model": {"path": str(model), "precision": "float32"},
        "training": {"precision": "float32"},
        "corpus": {
            "sources": [{"path": str(corpus), "shard_size": 3}],
            "window_tokens": 96,
            "held_out_every": 3,
        },
        # One text per batch: more steps for a checkpoint to keep.
        "sampling": {"max_new_tokens": 12, "windows_per_batch": 1},
        "execution": {"max_result_tokens": 24},
        "scoring": {"lowest_threshold": 0.0},
        "tools": {
            **{name: dict(tool) for name in TOOLS},
            "Calculator": {**tool, "options": {"weak_share": 1.0}},
            # Can run where Apertium is installed, and nowhere else.
            "MT": {"is_enabled": False},
            # `test_all_tools` builds with it: reading takes the model's time at every build.
            "QA": {**tool, "is_enabled": False},
        },
    }


def short_prompts() -> dict[str, dict[str, Any]]:
    """Of a tiny model the tokens are bytes, and the prompts that come with the tools are long."""
    return {name: {"prompt": "short", "sampling_threshold": 0.0} for name in TOOLS}


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


def write_lines(file: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write records as JSON lines; the file again."""
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return file
