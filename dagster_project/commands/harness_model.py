"""A home's model in lm-evaluation-harness's own command. Importing it needs the package lm-eval."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

import lm_eval.models  # noqa: F401  # pyright: ignore[reportMissingImports]  # the other models
from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]

from dagster_project.commands.completing import given_date, live_model
from dagster_project.commands.harness import Answers
from dagster_project.commands.options import RunOptions
from toolformer.errors import ToolformerError, UnservedGenerationError
from tools.registry import check_tool_name

__all__ = ["HomeModel", "cli_evaluate"]
# What the harness adds: cuda:0 also on machines that have none. The settings' own are taken.
_OF_HARNESS = {"device", "batch_size", "max_batch_size"}
_LISTS = ("tools", "blocked_tools", "settings")
_OTHERS = {"model": None, "with_calls": True, "today": None}


@register_model("toolformer")
class HomeModel(LM):
    """Made from `--model_args`; lists have `+` between their parts.

    Of the harness's three kinds of request only `generate_until` is served. Chat templates are not
    used: a model is finetuned on plain texts.
    """

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
        work, date = RunOptions.of(changes, tools=tools).workspace(), given_date(today)
        settings = work.settings
        for name in blocked:
            check_tool_name(name, targets=settings.tools.targets)
        # Until the process ends: the harness tells a model of no end.
        live = ExitStack().enter_context(
            live_model(work, tools=tools, model_name=model, with_tools=with_calls)
        )
        super().__init__()
        self._answers = Answers(live, date, with_calls, blocked)
        self._told = {
            "model": live.location.label(settings),
            "model_identity": live.location.identity(settings),
            "decoding": {
                **settings.decoding.model_dump(mode="json"),
                **live.min_call_probability.entries,
            },
            "tools": list(live.toolbox.tools),
            "blocked_tools": blocked,
        }

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes into its results, beside what it knows itself."""
        return {"toolformer": {**self._told, "prompts_cut": sorted(self._answers.cut)}}

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers, without calls, to all requests of a run."""
        return self._answers.to([request.args for request in requests])

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Refuse: nothing is written there.

        Raises:
            UnservedGenerationError: always.
        """
        raise UnservedGenerationError(
            f"A task asks for {len(requests)} likelihoods. There the likelihood of given texts is "
            "compared and the model writes nothing, so that no tool ever runs. Expected tasks with "
            "output_type: generate_until, such as nq_open, triviaqa or gsm8k."
        )

    loglikelihood_rolling = loglikelihood
