"""Asks the questions of a benchmark in one mode (paper §4.2)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from toolformer.decoding.completions import Completion, Decoding
from toolformer.decoding.decoder import complete, max_prompt_length
from toolformer.errors import ChatTemplateError, ToolformerError
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import DISABLED, Mode
from toolformer.forward.chat_template import chat_ids, has_chat_template, plain_prompt
from toolformer.forward.model import Model
from toolformer.home.wiring.execution import live_calls
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from tools.errors import ToolUnavailableError
from tools.running.deadlines import GIVEN_UP, MAX_FAILURES_IN_A_ROW
from tools.running.execution import TRANSIENT_REASONS

PROMPT_TOO_LONG, TOOL_FAILED = "prompt_too_long", "tool_failed"


class Questions:
    """Items of a benchmark, asked of one model in several modes.

    Completions without calls are kept: with calls, a completion is the same up to its first call,
    so this prefix is not decoded again.
    """

    def __init__(self, benchmark: Benchmark, tools: Toolbox, settings: Settings):
        self.benchmark = benchmark
        self.tools = tools
        self._settings = settings
        self._decoding = Decoding(settings.decoding, settings.execution.max_result_tokens).changed(
            max_new_tokens=benchmark.stop_rule.max_new_tokens
        )
        self._without_calls: dict[str, Completion] = {}

    def ask(
        self,
        model: Model,
        mode: Mode,
        items: Sequence[BenchmarkItem],
        *,
        known: Mapping[str, Mapping[str, object]],
        progress: Callable[[int, int], None],
    ) -> list[dict]:
        """Ask items without a `known` answer; return rows without benchmark, model and precision.

        The model must be the same in every call. An item whose tool was down has no score and the
        reason `tool_failed`. Raises ToolUnavailableError if a tool fails 20 times in a row.
        """
        asked_items = [item for item in items if item.item_id not in known]
        short, long = self._by_length(model, asked_items)
        without_calls = self._known_without_calls(short)
        if mode.is_forced and without_calls is None:
            self.ask(model, DISABLED, short, known={}, progress=progress)
            without_calls = self._known_without_calls(short)
        failed: set[int] = set()
        prompts = [item.prompt for item in short]
        run_calls = live_calls(
            self.tools,
            self._settings,
            prompts,
            [item.current_date or self._settings.evaluation.today for item in short],
            on_outcome=partial(_note_failure, failed),
        )
        completions = complete(
            model,
            prompts,
            decoding=replace(
                self._decoding.changed(call_top_k=mode.call_top_k),
                tools=() if mode.is_disabled else tuple(self.tools.tools),
                min_call_probability=mode.min_call_probability,
                blocked_tools=(*self.benchmark.blocked_tools, *filter(None, [mode.without_tool])),
            ),
            run_calls=run_calls,
            prompt_ids=[self._prompt_ids(model, item) for item in short],
            parse_arguments=self.tools.parse_arguments,
            stop_texts=self.benchmark.stop_rule.stop_texts,
            without_calls=without_calls,
            is_forced=mode.is_forced,
            rows_at_once=self._settings.evaluation.batch_size,
            progress=progress,
        )
        if mode.is_disabled:
            ids = (item.item_id for item in short)
            self._without_calls = dict(zip(ids, completions, strict=True))
        answers = {
            item.item_id: self._answer(item, completion, has_failed=index in failed)
            for index, (item, completion) in enumerate(zip(short, completions, strict=True))
        }
        answers |= {item.item_id: {"reason": PROMPT_TOO_LONG} for item in long}
        return [
            {**known[item.item_id]}
            if item.item_id in known
            else {**_question(item, mode), **answers[item.item_id]}
            for item in items
        ]

    def _known_without_calls(self, items: Sequence[BenchmarkItem]) -> list[Completion] | None:
        if any(item.item_id not in self._without_calls for item in items):
            return None
        return [self._without_calls[item.item_id] for item in items]

    def _by_length(
        self, model: Model, items: Sequence[BenchmarkItem]
    ) -> tuple[list[BenchmarkItem], list[BenchmarkItem]]:
        """Split items into those that leave room for an answer with a call, and the others."""
        # Independent of tools and k, so that all modes ask the same items.
        decoding = replace(self._decoding.changed(call_top_k=1), tools=("any",))
        max_tokens = max_prompt_length(model, decoding)
        short_and_long: tuple[list[BenchmarkItem], list[BenchmarkItem]] = ([], [])
        for item in items:
            short_and_long[len(self._prompt_ids(model, item)) > max_tokens].append(item)
        return short_and_long

    def _prompt_ids(self, model: Model, item: BenchmarkItem) -> list[int]:
        """Return the tokens of an item without the start token."""
        evaluation = self._settings.evaluation
        if evaluation.form == "plain":
            return model.tokenizer.encode(item.prompt)
        turns = [{"role": "user", "content": item.prompt}]
        if not has_chat_template(model.tokenizer):
            return model.tokenizer.encode(plain_prompt(turns))
        today = item.current_date or evaluation.today
        try:
            return chat_ids(model.tokenizer, turns, start=model.bos_id, today=today)
        except ChatTemplateError as error:
            raise ToolformerError(
                f"The model's chat template cannot render a question ({error}). Use a model with "
                "another template, or set evaluation.form to plain."
            ) from error

    def _answer(self, item: BenchmarkItem, completion: Completion, *, has_failed: bool) -> dict:
        call = completion.calls[0] if completion.calls else None
        undone = completion.undone_calls[0] if completion.undone_calls else None
        is_right = self.benchmark.score(item, completion.text_without_calls)
        counted_by = self.benchmark.counted_by(item, completion.text_without_calls)
        return {
            "output": completion.text,
            "answer": completion.text_without_calls,
            "called_tool": call.tool if call else None,
            "arguments": call.arguments if call else None,
            "result": call.result if call else None,
            "is_result_right": self.benchmark.score(item, call.result) if call else None,
            "undone_call": f"{undone.text} ({undone.reason})" if undone else None,
            "score": None if has_failed else float(is_right),
            "counted_by": None if has_failed else counted_by,
            "tokens": sum(step.kind in ("sampled", "trigger") for step in completion.trace),
            "stopped_by": completion.stopped_by,
            "reason": TOOL_FAILED if has_failed else None,
        }


def _note_failure(failed: set[int], index: int, tool: str, reason: str | None) -> None:
    """Record the item whose tool was down; raise if the tool was given up."""
    if reason == GIVEN_UP:
        raise ToolUnavailableError(
            tool,
            f"it had no answer {MAX_FAILURES_IN_A_ROW} times in a row",
            "The parts finished before are stored. Check that the tool runs (`toolformer tools "
            f"check {tool}`), then run the same command again",
        )
    if reason in TRANSIENT_REASONS:
        failed.add(index)


def _question(item: BenchmarkItem, mode: Mode) -> dict:
    return {
        "item_id": item.item_id,
        "item_group": item.group,
        "prompt": item.prompt,
        "gold": json.dumps(item.gold, ensure_ascii=False),
        "score_weight": 1.0,
        "metric": "accuracy",
        **mode.entries,
        "without_tool": mode.without_tool,
    }
