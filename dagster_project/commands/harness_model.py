"""A home's model in lm-evaluation-harness's own command. Importing it needs the package lm-eval."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import lm_eval.models  # noqa: F401  # pyright: ignore[reportMissingImports]  # the other models
from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]

from dagster_project.commands.completing import given_date, live_model
from dagster_project.commands.harness import Continuation, decoded_with
from dagster_project.commands.options import RunOptions
from toolformer.errors import ToolformerError
from toolformer.home.home import Home
from toolformer.lm_eval.adapter import HarnessModel
from toolformer.lm_eval.answers import Answers
from tools.registry import check_tool_name

__all__ = ["HomeModel", "cli_evaluate"]
# What the harness adds: cuda:0 also on machines that have none. The settings' own are taken.
_OF_HARNESS = {"device", "batch_size", "max_batch_size"}
_LISTS = ("tools", "blocked_tools", "settings")
_OTHERS = {"model": None, "with_calls": True, "today": None}


@register_model("toolformer")
class HomeModel(HarnessModel):
    """Made from `--model_args`; lists have `+` between their parts."""

    def __init__(self, **given: Any) -> None:
        if unknown := sorted(given.keys() - {*_OF_HARNESS, *_LISTS, *_OTHERS}):
            raise ToolformerError(
                f"--model_args has {', '.join(unknown)}. Expected {', '.join((*_OTHERS, *_LISTS))}."
            )
        tools, blocked, changes = (
            [part for part in str(given.get(name, "")).split("+") if part] for name in _LISTS
        )
        model, with_calls, today = (given.get(n, other) for n, other in _OTHERS.items())
        if not isinstance(with_calls, bool):
            raise ToolformerError(f"with_calls is {with_calls!r}. Expected True or False.")
        options, home = RunOptions.of(changes, tools=tools), Home.find()
        settings, date = options.load_settings(home), given_date(today)
        for name in blocked:
            check_tool_name(name, targets=settings.tools.targets)
        # Until the process ends: the harness tells a model of no end.
        live = ExitStack().enter_context(
            live_model(options, settings, home, model_name=model, with_tools=with_calls)
        )
        continuation = Continuation(live, date, blocked)
        super().__init__(Answers(partial(continuation.decode, with_calls=with_calls)))
        self._told = {**decoded_with(live, blocked), "prompts_cut": continuation.cut}

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes into its results, beside what it knows itself."""
        return {"toolformer": {**self._told, "prompts_cut": sorted(self._told["prompts_cut"])}}
