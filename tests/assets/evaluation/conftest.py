"""Measures by a small benchmark, with a model that writes what it is told to."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assets.evaluation import evaluator
from assets.evaluation.evaluator import Evaluator
from tests.fakes import ScriptedModel
from tests.homes import write_lines
from tests.warehouse.rows import new_warehouse
from toolformer.evaluation.modes import DISABLED, enabled
from toolformer.home.home import Home
from toolformer.home.wiring.models import EvaluatedModel
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import validated
from tools.base import Tool
from tools.errors import ToolTimeoutError

MODES = [DISABLED, enabled(10)]
QUESTIONS = 5


class Sum(Tool):
    """Answers 1; nothing while it is down, or down for these arguments."""

    name = "Calculator"
    version = "1"
    description = "Adds."
    is_down = False
    down_for: Collection[str] = ()

    def call(self, arguments, document):
        if self.is_down or arguments in self.down_for:
            raise ToolTimeoutError("no answer")
        return "1"


@pytest.fixture
def file(tmp_path) -> Path:
    return write_lines(tmp_path / "own.jsonl", questions(QUESTIONS))


# As the Calculator writes them.
DECIMALS = ("0.63", "2.70", "5.00")


def questions(count: int) -> list[dict[str, Any]]:
    return [{"id": f"q{n}", "question": f"Is it {n}", "answers": [str(n)]} for n in range(count)]


@pytest.fixture
def measure(tmp_path, file: Path, monkeypatch) -> Callable[..., Any]:
    """Measures, two items a part; returns what was asked, by how often."""
    monkeypatch.setattr(evaluator, "_ITEMS_PER_PART", 2)
    home = Home(tmp_path / "home")
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"\0" * 100)
    store = new_warehouse(home.root)

    def measured(
        *,
        modes=MODES,
        tool: Tool | None = None,
        force: bool = False,
        template: str | None = None,
        benchmark: str = "own",
        **evaluation: Any,
    ) -> tuple[Evaluator, list[str]]:
        asked = [*range(20), *DECIMALS]
        with_calls = [f"Q: Is it {n}? [Calculator({n} + 0) -> 1] {n}" for n in asked]
        model = ScriptedModel([*with_calls, *(f"Q: Is it {n}? {n}" for n in asked)])
        model.tokenizer.backend.chat_template = template
        described = {benchmark: {"path": str(file), "prompt": "Q: {question}"}}
        settings = validated(
            {
                "evaluation": {"questions": described, "benchmarks": [benchmark], **evaluation},
                "execution": {"attempts": 1},
            },
            origin="test",
        )
        run: Any = SimpleNamespace(
            settings=settings,
            home=home,
            warehouse=store,
            force=force,
            log=logging.getLogger("test"),
            holder=SimpleNamespace(
                load=lambda *_, precision: model, drop_second_model=lambda: None
            ),
            hold_device=lambda: "cpu",
            progress=lambda *_: lambda done, total: None,
        )
        work = Evaluator(run, Toolbox({"Calculator": tool or Sum()}, {}, {}), [])
        work.measure(benchmark, EvaluatedModel(directory, name="base"), modes)
        return work, model.asked

    return measured


def scores(work: Evaluator) -> dict[tuple[str, str], float | None]:
    rows = work.run.warehouse.query("select item_id, mode, score from evaluation_results").rows()
    return {(item, mode): score for item, mode, score in rows}
