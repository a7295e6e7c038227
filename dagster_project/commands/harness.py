"""`toolformer evaluate harness`: the answers to tasks of lm-evaluation-harness, with live calls."""

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from dagster_project.commands.completing import LiveModel
from toolformer.base.constants import INSTALL_EXTRA
from toolformer.decoding.completions import BY_RANK_ALONE, Completion
from toolformer.decoding.decoder import longest_prompt_tokens
from toolformer.errors import SequenceTooLongError, ToolformerError
from toolformer.home.progress import progress_of
from toolformer.lm_eval.answers import Generation

_LOGGER = logging.getLogger(__name__)


def check_installed() -> None:
    """Tell before anything is loaded that lm-eval is missing.

    Raises:
        ToolformerError: names the command that installs it.
    """
    if find_spec("lm_eval") is None:
        raise ToolformerError(
            "Tasks of lm-evaluation-harness need the package lm-eval, which is not installed. Run "
            f"`{INSTALL_EXTRA.format('lm-eval')}` in the clone."
        )


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
        self, prompts: Sequence[str], way: Generation, *, with_calls: bool
    ) -> list[Completion]:
        """Continue prompts, all in the same way, in one batch.

        Raises:
            SequenceTooLongError: no prompt at all would leave room for so many new tokens.
        """
        return self.live.complete(
            prompts,
            self.today,
            self.live.parameters(
                way.max_new_tokens, with_calls=with_calls, blocked_tools=self.blocked_tools
            ),
            prompt_ids=self._fitting(prompts, way),
            stop_texts=way.until,
            progress=progress_of(
                "answering", _LOGGER, detail="tools on" if with_calls else "tools off"
            ),
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
                "in a copy of the task, and name its folder with --include_path."
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
