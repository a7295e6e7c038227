"""`toolformer evaluate harness`: lm-evaluation-harness's own command line, with our model.

The harness looks for models in a table of its own and for no entry points, so that its command
`lm_eval` cannot find a model of another package. Here it is entered first. Importing this module
needs the package lm-eval.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import lm_eval.models  # noqa: F401  # pyright: ignore[reportMissingImports]  # enters the others
from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import model_registry  # pyright: ignore[reportMissingImports]

from dagster_project.commands.completing import given_date, live_model
from dagster_project.commands.harness import Continuation, decoded_with
from dagster_project.commands.options import RunOptions
from toolformer.errors import ToolformerError
from toolformer_home.home import Home
from toolformer_lm_eval.adapter import HarnessModel
from toolformer_lm_eval.answers import Answers
from tools.registry import check_tool_name

NAME = "toolformer"


class HomeModel(HarnessModel):
    """A model of the home with its tools, made from `--model_args`."""

    def __init__(
        self,
        model: str | None = None,
        tools: str = "",
        blocked_tools: str = "",
        with_calls: bool = True,
        today: str | None = None,
        preset: str | None = None,
        settings: str = "",
        **others: object,
    ) -> None:
        """Open tools and model, which is loaded by the first task.

        Args:
            model: as `--model` of `toolformer complete`.
            tools, blocked_tools: names with `+` between them, since the harness cuts at commas.
            with_calls: False disables calls.
            today: what the Calendar takes for today, as YYYY-MM-DD.
            preset: of the settings, instead of the one in toolformer.yaml.
            settings: such as `decoding.call_top_k=1`, with `+` between them.
            others: device and sizes of batches, which the harness gives always, `cuda:0` also on
                machines that have none; the settings' own are taken, which change no answer.

        Raises:
            ToolformerError: there is something else, or no such model or tool.
        """
        if unknown := sorted(others.keys() - {"device", "batch_size", "max_batch_size"}):
            raise ToolformerError(
                f"--model_args has {', '.join(unknown)}. Expected model, tools, blocked_tools, "
                "with_calls, today, preset or settings."
            )
        options = RunOptions.of(preset, _names(settings), tools=_names(tools))
        home = Home.find()
        loaded, blocked = options.load_settings(home), _names(blocked_tools)
        for name in blocked:
            check_tool_name(name, targets=loaded.tools.targets)
        date = given_date(today)
        # Until the process ends: the harness tells a model of no end.
        live = ExitStack().enter_context(
            live_model(options, loaded, home, model_name=model, with_tools=with_calls)
        )
        continuation = Continuation(live, today=date, blocked_tools=blocked)
        super().__init__(Answers(partial(continuation.decode, with_calls=with_calls)))
        self._told = {NAME: decoded_with(live, blocked)}

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes into its results, beside what it knows itself."""
        return self._told


def run_harness(arguments: Sequence[str]) -> None:
    """Run the harness's command with these arguments."""
    if NAME not in model_registry:
        model_registry.register(NAME, target=HomeModel)
    before, sys.argv = sys.argv, ["lm_eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def _names(joined: str) -> tuple[str, ...]:
    return tuple(name for name in str(joined).split("+") if name)
