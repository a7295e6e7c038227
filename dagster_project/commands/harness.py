r"""`toolformer evaluate harness`: the answers to tasks of lm-evaluation-harness, with live calls.

asked      a prompt, and {"until": ["\n", ".", ","], "do_sample": False}
decoded    " about 42 [Calculator(1.5 * 28) -> 42], I think"
answered   " about 42"            without calls, and cut at the `,` that stands outside them
"""

import datetime
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from dagster_project.commands.completing import LiveModel
from toolformer.base.constants import INSTALL_EXTRA
from toolformer.decoding.completions import BY_RANK_ALONE, Completion
from toolformer.decoding.decoder import longest_prompt_tokens
from toolformer.decoding.live_text import before_stop
from toolformer.errors import SequenceTooLongError, ToolformerError, UnservedGenerationError
from toolformer.home.progress import progress_of

_LOGGER = logging.getLogger(__name__)
# What the harness's own models take where a task says nothing.
_MAX_NEW_TOKENS = 256
# The names that tasks have for it; the harness reads them in this order.
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# Without sampling these change nothing.
_OF_SAMPLING = ("top_k", "top_p", "min_p", "seed")


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


class Generation(NamedTuple):
    """How a text is to be continued.

    Attributes:
        until: the answer ends before the first of these that appears outside calls.
        max_new_tokens: most tokens outside calls.
    """

    until: tuple[str, ...]
    max_new_tokens: int

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Generation":
        """Read the `generation_kwargs` of a task.

        As in the harness, a temperature beside `do_sample: false` changes nothing.

        Raises:
            UnservedGenerationError: greedy decoding with calls cannot do what is asked.
        """
        left = {name: value for name, value in arguments.items() if value is not None}
        until = left.pop("until", ())
        lengths = [left.pop(name) for name in _LENGTHS if name in left]
        temperature = float(left.pop("temperature", 0))
        if left.pop("do_sample", temperature > 0):
            raise _refused(arguments, "sampling", "Set do_sample: false in the task.")
        if left.pop("num_beams", 1) != 1:
            raise _refused(arguments, "a search with beams", "Set num_beams: 1 in the task.")
        if others := sorted(left.keys() - set(_OF_SAMPLING)):
            raise _refused(arguments, ", ".join(others), "Leave it out of the task.")
        max_new_tokens = int(lengths[0]) if lengths else _MAX_NEW_TOKENS
        if max_new_tokens < 1:
            raise _refused(arguments, f"{max_new_tokens} new tokens", "Expected at least one.")
        # An empty text would end every answer before its first character.
        texts = (until,) if isinstance(until, str) else until
        return cls(tuple(text for text in texts if text), max_new_tokens)


@dataclass(frozen=True)
class Answers:
    """The answers to tasks by a model with the tools of a home, in one mode.

    A prompt that is too long loses its beginning, as in the harness: as much as leaves room for a
    call, also where there are no tools, so that all modes continue the same.

    Attributes:
        cut: the prompts that lost something.
        completions: by prompt and how it was to be continued.
    """

    live: LiveModel
    today: datetime.date
    with_calls: bool = True
    blocked_tools: Sequence[str] = ()
    cut: set[str] = field(default_factory=set)
    completions: dict[tuple[str, Generation], Completion] = field(default_factory=dict)

    def to(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Answer requests, all that ask for the same way together, and equal ones once.

        Args:
            requests: prompts, each with the `generation_kwargs` of its task.

        Raises:
            UnservedGenerationError: before anything is decoded; see `Generation.of`.
        """
        wanted = [(prompt, Generation.of(arguments)) for prompt, arguments in requests]
        ways: dict[Generation, list[str]] = {}
        for prompt, way in dict.fromkeys(wanted):
            if (prompt, way) not in self.completions:
                ways.setdefault(way, []).append(prompt)
        for way, prompts in ways.items():
            for prompt, completion in zip(prompts, self.decode(prompts, way), strict=True):
                self.completions[prompt, way] = completion
        return [
            before_stop(self.completions[prompt, way].text_without_calls, way.until)
            for prompt, way in wanted
        ]

    def decode(self, prompts: Sequence[str], way: Generation) -> list[Completion]:
        """Continue prompts, all in the same way, in one batch.

        Raises:
            SequenceTooLongError: no prompt at all would leave room for so many new tokens.
        """
        decoding = self.live.decoding(way.max_new_tokens)
        return self.live.complete(
            prompts,
            self.today,
            replace(
                decoding,
                tools=decoding.tools if self.with_calls else (),
                blocked_tools=tuple(self.blocked_tools),
            ),
            prompt_ids=self._fitting(prompts, way),
            stop_texts=way.until,
            progress=progress_of(
                "answering", _LOGGER, detail="tools on" if self.with_calls else "tools off"
            ),
        )

    def _fitting(self, prompts: Sequence[str], way: Generation) -> list[list[int]]:
        model = self.live.load()
        # A run without tools is compared with another that has them.
        decoding = replace(
            self.live.decoding(way.max_new_tokens),
            tools=("any",),
            min_call_probability=BY_RANK_ALONE,
        )
        max_tokens = longest_prompt_tokens(model, decoding)
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


def _refused(arguments: Mapping[str, Any], what: str, remedy: str) -> UnservedGenerationError:
    return UnservedGenerationError(
        f"The task asks for {what} (generation_kwargs: {dict(arguments)}). Decoding with calls is "
        f"greedy and takes until and max_gen_toks alone. {remedy}"
    )
