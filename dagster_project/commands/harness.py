"""`toolformer evaluate lm-eval`: tasks of lm-evaluation-harness without and with live calls."""

import datetime
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.commands import console
from dagster_project.commands.completing import LiveModel, given_date, live_model
from dagster_project.commands.options import RunOptions
from toolformer.decoding.completions import BY_RANK_ALONE, Completion
from toolformer.decoding.decoder import longest_prompt_tokens
from toolformer.errors import SequenceTooLongError, ToolformerError
from toolformer.files.replaceable import head_of, why_not_replaced
from toolformer.files.whole_files import write_whole
from toolformer_home.home import Home
from toolformer_home.progress import progress_of
from toolformer_lm_eval.answers import Answers, Generation
from toolformer_lm_eval.comparison import Outcome, samples, summary
from toolformer_lm_eval.tasks import check_installed, open_tasks
from tools.registry import check_tool_name

OFF, ON = "tools off", "tools on"
# In every file of results.
_MARK = "toolformer evaluate lm-eval"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Continuation:
    """Continues the prompts of a task with the tools of a home, in either mode.

    A prompt that is too long loses its beginning, as in the harness: as much as leaves room for a
    call, also where there are no tools, so that all modes continue the same.

    Attributes:
        live: the model and its tools.
        today: what the Calendar takes for today.
        blocked_tools: those that may not be called.
        cut: the prompts that lost something.
    """

    live: LiveModel
    today: datetime.date
    blocked_tools: Sequence[str] = ()
    cut: set[str] = field(default_factory=set)

    def decode(
        self,
        prompts: Sequence[str],
        way: Generation,
        *,
        with_calls: bool,
        without_calls: Answers | None = None,
    ) -> list[Completion]:
        """Continue prompts, all in the same way, in one batch.

        Args:
            without_calls: the answers to the same prompts with calls disabled, where they are
                known; what is the same up to the first call is not decoded again.

        Raises:
            SequenceTooLongError: no prompt at all would leave room for so many new tokens.
        """
        known = None
        if without_calls is not None:
            known = [without_calls.completions[prompt, way] for prompt in prompts]
        return self.live.complete(
            prompts,
            self.today,
            self.live.parameters(
                way.max_new_tokens, with_calls=with_calls, blocked_tools=self.blocked_tools
            ),
            prompt_ids=self._fitting(prompts, way),
            stop_texts=way.until,
            without_calls=known,
            progress=progress_of("answering", _LOGGER, detail=ON if with_calls else OFF),
        )

    def _fitting(self, prompts: Sequence[str], way: Generation) -> list[list[int]]:
        model = self.live.load()
        # A run without tools is compared with another that has them.
        parameters = replace(
            self.live.parameters(way.max_new_tokens),
            tools=("any",),
            min_call_probability=BY_RANK_ALONE,
        )
        max_tokens = longest_prompt_tokens(model, parameters)
        if max_tokens < 1:
            raise SequenceTooLongError(
                f"The task asks for up to {way.max_new_tokens} new tokens. With a call, they leave "
                f"no room for a prompt in the model's {model.context_length}. Lower max_gen_toks "
                "in a copy of the task, and name its folder with --include-path."
            )
        encoded = [model.tokenizer.encode(prompt) for prompt in prompts]
        self.cut.update(
            prompt for prompt, ids in zip(prompts, encoded, strict=True) if len(ids) > max_tokens
        )
        return [ids[-max_tokens:] for ids in encoded]


def decoded_with(live: LiveModel, blocked_tools: Sequence[str]) -> dict[str, Any]:
    """The model and what it decodes with, for a file of results."""
    return {
        "model": live.location.label(live.settings),
        "model_identity": live.location.identity(live.settings),
        "decoding": {
            **live.settings.decoding.model_dump(mode="json"),
            **live.min_call_probability.entries,
        },
        "tools": list(live.toolbox.tools),
        "blocked_tools": list(blocked_tools),
    }


def _is_ours(file: Path) -> bool:
    return f'"made_with": "{_MARK}"'.encode() in head_of(file)


def compare_on_tasks(
    tasks: Sequence[str],
    options: RunOptions,
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    with_calls: bool = True,
    model_name: str | None = None,
    today: str | None = None,
    blocked_tools: Sequence[str] = (),
    output: Path | None = None,
) -> None:
    """Run tasks with calls disabled, and enabled, and print both results side by side.

    Raises:
        ToolformerError: where the results are to be written, something else is.
    """
    if output is not None and (problem := why_not_replaced(output, "result file", _is_ours)):
        raise ToolformerError(problem)
    check_installed()
    home = Home.find()
    settings = options.load_settings(home)
    date = given_date(today)
    for name in blocked_tools:
        check_tool_name(name, targets=settings.tools.targets)
    # Before the model, which may have to be converted first.
    manager = open_tasks(tasks, include_path)
    with live_model(options, settings, home, model_name=model_name) as live:
        # Only now: they need what is checked above.
        from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]

        from toolformer_lm_eval.adapter import HarnessModel

        # Its decorator hides the parameters from type checkers.
        evaluate: Callable[..., Any] = simple_evaluate
        continuation = Continuation(live, today=date, blocked_tools=blocked_tools)
        modes: dict[str, Outcome] = {}
        with console.progress_bars():
            for mode in (OFF, ON) if with_calls else (OFF,):
                # The model is loaded only when the harness has read the data.
                answers = Answers(
                    partial(
                        continuation.decode,
                        with_calls=mode == ON,
                        without_calls=modes[OFF].answers if mode == ON else None,
                    )
                )
                # No cache of the harness: its keys do not name the model.
                results = evaluate(
                    HarnessModel(answers),
                    tasks=list(tasks),
                    task_manager=manager,
                    limit=limit,
                    bootstrap_iters=0,
                )
                modes[mode] = Outcome(results or {}, answers)
    rows = summary(modes)
    console.frame(pl.DataFrame(rows, infer_schema_length=None))
    if continuation.cut:
        console.say(
            f"({len(continuation.cut)} prompts were too long for the model's context beside answer "
            "and call, and lost their beginnings.)"
        )
    if output is not None:
        report = {
            "made_with": _MARK,
            "limit": limit,
            **decoded_with(live, blocked_tools),
            "prompts_cut": sorted(continuation.cut),
            "results": rows,
            "versions": modes[OFF].results["versions"],
            "samples": samples(modes),
        }
        write_whole(output, json.dumps(report, indent=1, ensure_ascii=False, default=str) + "\n")
