"""Holds the served model with its tools, and translates requests into decoding settings."""

import datetime
import random
import reprlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from toolformer.decoding.completions import Completion, Decoding, MinCallProbability
from toolformer.decoding.decoder import RunCalls, max_tokens_after_prompt
from toolformer.decoding.decoding_row import RowSettings
from toolformer.decoding.live_batch import LiveBatch
from toolformer.decoding.live_text import LiveRequest
from toolformer.forward.chat_template import has_chat_template, plain_template
from toolformer.forward.model import Model
from toolformer.home.wiring.execution import live_calls
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.server.api_errors import ApiError, nearest
from toolformer.server.chat_bodies import Body, ChatBody
from toolformer.settings.sections import Settings
from tools.protocol import ToolCall

_MAX_NEW_TOKENS = 4096
# Default token limit of chat answers, unless `decoding.max_new_tokens` is larger.
_CHAT_TOKENS = 512


@dataclass
class ModelService:
    """Served model, the batch that runs it, and its tools.

    Attributes:
        examples: Pairs of a tool and a prompt that the model correctly continued with a call.
        calls_in_text: Whether completions contain calls by default.
        created: Start time in seconds since 1970.
    """

    model: Model
    batch: LiveBatch
    settings: Settings
    toolbox: Toolbox
    min_call_probability: MinCallProbability
    examples: Sequence[tuple[str, str]] = ()
    calls_in_text: bool = True
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def description(self) -> dict[str, Any]:
        """Description of the model as in OpenAI's API, with its tools and call settings."""
        decoding = self.settings.decoding
        return {
            "id": self.model.name,
            "object": "model",
            "created": self.created,
            "owned_by": "toolformer",
            "toolformer": {
                "tools": list(self.toolbox.tools),
                "unavailable": dict(self.toolbox.unavailable),
                "call_top_k": decoding.call_top_k,
                **self.min_call_probability.entries,
                "max_calls": decoding.max_calls,
                "calls_in_text": self.calls_in_text,
                "context_length": self.model.context_length,
                "max_tokens": self.max_new_tokens,
                "examples": [{"tool": tool, "text": text} for tool, text in self.examples],
            },
        }

    @property
    def max_new_tokens(self) -> int:
        """Upper limit of `max_tokens` in requests."""
        return min(_MAX_NEW_TOKENS, self.model.context_length)

    def live_requests(self, body: Body) -> list[LiveRequest]:
        """Return `n` requests to the batch per prompt, in the order of the prompts.

        Raises an `ApiError` if the model and its tools cannot fulfil the request.
        """
        self.check_name(body.model)
        prompts, samples = body.prompts(self.model.tokenizer, self.model.bos_id), body.n or 1
        if samples > 1 and not body.temperature:
            raise ApiError(
                400,
                f"n is {samples}, but temperature is 0. Expected n = 1 or a temperature above 0: "
                "greedy decoding has only one outcome.",
                param="n",
            )
        if (count := len(prompts) * samples) > self.batch.max_active:
            raise ApiError(
                400,
                f"{body.PROMPT} and n request {count} texts. Expected at most "
                f"{self.batch.max_active}. Request the others separately.",
                param=body.PROMPT,
            )
        toolbox = self._requested_tools(body)
        decoding = self._decoding(body, tuple(toolbox.tools))
        if isinstance(body, ChatBody):
            decoding = self._fitted(decoding, len(prompts[0][1]))
        date = datetime.date.fromisoformat(body.today) if body.today else datetime.date.today()
        requests = []
        for index in range(count):
            prompt, ids = prompts[index // samples]
            # Each request starts with no counted failures, so a tool that was down is tried again.
            own = replace(toolbox, failures=Counter())
            run_calls = live_calls(own, self.settings, [prompt], [date])
            # As in vLLM, text number `index` equals that of a single request with `seed + index`.
            seed = None if body.seed is None else f"{body.seed + index}/0"
            row_settings = RowSettings(
                decoding,
                own.parse_arguments,
                body.stop_texts,
                top_tokens=body.top_tokens or 0,
                temperature=body.temperature or 0.0,
                top_p=1.0 if body.top_p is None else body.top_p,
                uniform=random.Random(seed).random,
            )
            requests.append(LiveRequest(prompt, row_settings, partial(_run_call, run_calls), ids))
        return requests

    def _decoding(self, body: Body, tools: tuple[str, ...]) -> Decoding:
        limit, is_chat = body.token_limit, isinstance(body, ChatBody)
        if limit is None and is_chat:
            limit = max(_CHAT_TOKENS, self.settings.decoding.max_new_tokens)
        elif limit is not None and limit > self.max_new_tokens and not is_chat:
            message = f"max_tokens is {limit}. Expected at most {self.max_new_tokens}."
            raise ApiError(400, message, param="max_tokens")
        min_probability = body.min_call_probability
        if isinstance(min_probability, dict):
            self._check_tools(min_probability, "min_call_probability")
        overrides = {
            "max_new_tokens": limit,
            "call_top_k": body.call_top_k,
            "max_calls": body.max_calls,
        }
        return Decoding(
            self.settings.decoding,
            self.settings.execution.max_result_tokens,
            tools,
            min_call_probability=self.min_call_probability.changed(min_probability),
        ).changed(**{name: value for name, value in overrides.items() if value is not None})

    def _fitted(self, decoding: Decoding, prompt_tokens: int) -> Decoding:
        """Return the settings with `max_new_tokens` limited to the space left in the context."""
        wanted = decoding.settings.max_new_tokens
        max_call_tokens = max_tokens_after_prompt(decoding) - wanted
        room = self.model.context_length - 1 - prompt_tokens - max_call_tokens
        return decoding.changed(max_new_tokens=max(1, min(wanted, self.max_new_tokens, room)))

    def check_name(self, name: str | None) -> None:
        """Raise if a request names a model other than the served one."""
        if name not in (None, self.model.name):
            raise ApiError(
                404,
                f"The server has no model {reprlib.repr(name)}. Expected {self.model.name!r}.",
                param="model",
                code="model_not_found",
            )

    def empty_answer(self, completions: Iterable[Completion]) -> ApiError:
        """Return the error for blank chat answers, with advice on how to ask instead."""
        calls = dict.fromkeys(call.text.strip() for each in completions for call in each.calls)
        tokenizer = self.model.tokenizer
        plain = plain_template(tokenizer, self.model.bos_id)
        advice = "Rephrase the message, or let /v1/completions continue a text."
        if not has_chat_template(tokenizer) or tokenizer.backend.chat_template == plain:
            example = next((f", such as {text!r}" for _, text in self.examples), "")
            advice = "The model was not trained on chats and only continues texts. Send the "
            advice += f"beginning of a sentence{example}."
        exception = f" except for {' and '.join(calls)}" if calls else ""
        message = f"The answer is empty{exception}. {advice}"
        return ApiError(422, message, param="messages", code="empty_answer")

    def _requested_tools(self, body: Body) -> Toolbox:
        known, named = self.toolbox.tools, body.named_tools
        if named is None:
            return self.toolbox
        names = named if isinstance(named, list) else ()
        self._check_tools(names, "tools")
        return replace(self.toolbox, tools={name: known[name] for name in known if name in names})

    def _check_tools(self, names: Iterable[str], param: str) -> None:
        known, unavailable = self.toolbox.tools, self.toolbox.unavailable
        for name in names:
            if name not in known:
                reason = unavailable.get(name) or nearest(name, known)
                message = f"The server has no tool {reprlib.repr(name)}. {reason}"
                raise ApiError(400, message, param=param)


def _run_call(run_calls: RunCalls, call: ToolCall) -> str | None:
    return run_calls([(0, call)])[0]
