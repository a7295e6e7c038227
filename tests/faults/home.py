"""Homes to break: a tiny model made on the spot, generated texts, small numbers, the real commands.

Does not break anything itself.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.homes import (
    SmallHome,
    command,
    environment_of,
    generated_articles,
    generated_texts,
    small_settings,
    write_lines,
)

# That are annotated; a fourth one is held out.
SHARDS = ("shard-00000", "shard-00001", "shard-00002")
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
        texts = generated_texts(seed, _TEXTS_PER_SHARD * (len(SHARDS) + 1))
        prompts = {tool: folder / f"{tool}.txt" for tool in _PROMPTS}
        for tool, file in prompts.items():
            file.write_text(_PROMPTS[tool])
        return cls(
            save_calling_model(folder / "model"),
            write_lines(folder / "texts.jsonl", texts),
            write_lines(folder / "articles.jsonl", generated_articles(seed)),
            prompts,
        )


class FaultyHome(SmallHome):
    """A home, and the commands that are run in it."""

    def start(self, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Start a command in a session of its own; its outputs come as one text."""
        return subprocess.Popen(
            command("cli", *arguments),
            env={**environment_of(self.root), **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, extra: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end."""
        return finish(self.start(*arguments, extra=extra))


def finish(process: subprocess.Popen) -> Done:
    """Wait for a command; one that takes too long is killed with all it started."""
    try:
        output, _ = process.communicate(timeout=TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        output += f"\n(killed after {TIME_LIMIT_SECONDS:.0f} s)"
    return Done(process.returncode, output)


def commands(ingredients: Ingredients) -> dict[str, Sequence[str]]:
    """The four commands from texts to results, in their order."""
    ingest = ("ingest", str(ingredients.texts), "--shard-size", str(_TEXTS_PER_SHARD))
    return {"ingest": ingest, **{name: (name,) for name in COMMANDS[1:]}}


def settings_of(ingredients: Ingredients, *, with_search: bool = False) -> dict[str, Any]:
    """A tiny run in bfloat16 whose uncertain calls are decided in float32."""
    from toolformer.settings.sections import merged

    numbers = {"sampling_threshold": 0.0, "positions_per_text": 3}
    tools = {name: {**numbers, "prompt": str(file)} for name, file in ingredients.prompts.items()}
    tools["WikiSearch"] |= {"is_enabled": with_search}
    changes = {
        "language_model": {"precision": "bfloat16", "device": "cpu"},
        "corpus": {"held_out_every": 4},
        "scoring": {"token_budget": 256, "chance_calls": 4},
        "tools": tools,
        "wikipedia_index": {"source": str(ingredients.articles)},
        "training": {
            "steps": 4,
            "min_texts": 1,
            "batch_size": 2,
            "max_tokens": 256,
            "evaluations": 3,
            "save_every": 1,
            "development_share": 0.4,
        },
        "evaluation": {"dateset_items": 3, "batch_size": 2},
    }
    settings = merged(small_settings(ingredients.model, ingredients.texts), changes)
    # The sources are those that were ingested, and results are whole.
    del settings["corpus"]["sources"], settings["execution"]
    return settings
