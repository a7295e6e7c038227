"""Property tests that `toolformer tools check` runs on a tool.

Inputs are the calls in the tool's prompt, and the worst arguments that models write.
"""

import datetime
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from tools.base import Tool, proposals_of
from tools.errors import CallSyntaxError, ToolCallError, ToolError, ToolUnavailableError
from tools.plugins.plugins import check_description, error_location, parse_arguments
from tools.prompting import demonstrations_of
from tools.protocol import Document, Preselection
from tools.running.call_threads import answer_in_time
from tools.running.deadlines import COMPUTE_DEADLINE_FACTOR
from tools.syntax import clean_result, parse_sample

# Fragments of the worst texts that models write; `_MIXED` combines them.
_PIECES = (
    *" \n\u00a0\u200b\u202e\x00\ufeff();\"'“”«`\\,.=|-+*/%^:?<$0a٣３½Ⅷ∞İﬁ",
    *("a[0]", "a -> b", "-\n>", "(" * 200, "<API>", "</s>", "name=value", "--help", "a\u2028b"),
    *("1e999", "nan", "1_000", "1.000,5", "0x10", "9" * 400, "9**9**9", "3 + 4 * 5", "1j", "None"),
    *("1" + "+1" * 2000, "-" * 300 + "1", "exit()", "__import__('os').system('true')", "../../x"),
    *("{0.__class__}", "${HOME}", "'; drop table x; --", "<b>", '{"a": 1}', "!!python/object:x"),
    *("AND", "title:(a", "x" * 10_000, "word " * 3_000, "日本語", "العربية", "e\u0301", "ß" * 100),
    *("👩\u200d👧", "2024-02-30", "tomorrow", "12 feet, metre", "The quick fox jumps."),
)
_RANDOM = random.Random(0)
_MIXED = [_RANDOM.choices(_PIECES, k=3) for _ in range(40)]
NASTY_ARGUMENTS = ("", *_PIECES, *map("".join, _MIXED))
_URL, _DAY = "https://example.org/2024/05/03/a.html", datetime.date(2024, 5, 3)
_PAGE = Document("page", "A text.", _URL, published_on=_DAY)
_Request = tuple[str, Document]


class BrokenRuleError(Exception):
    """The tool breaks a rule; the message says which one."""


@dataclass
class Trial:
    """A tool under test; each test returns a summary or raises BrokenRuleError."""

    name: str
    create: Callable[[Mapping[str, object]], Tool]
    settings: Mapping[str, object]
    read_prompt: Callable[[Tool], str]
    deadline_seconds: float

    def __post_init__(self) -> None:
        self.tool = self.create(self.settings)
        self._answered: dict[_Request, object] = {}

    def run(self) -> Iterator[tuple[str, str, str]]:
        """Yield the rule of each test, `passed`, `failed` or `skipped`, and a detail."""
        without_calls = (self.describes_itself, self.reads_what_models_write, self.takes_any_text)
        with_calls = (self.answers_or_fails_rightly, self.gives_the_same_again)
        for test in (*without_calls, *with_calls, self.version_covers_settings):
            rule = test.__name__.replace("_", " ")
            try:
                yield rule, "passed", test()
            except ToolUnavailableError as error:
                yield rule, "skipped", str(error)
            except BrokenRuleError as error:
                yield rule, "failed", str(error)
            # The tool may raise anything, for example in a property.
            except Exception as error:  # noqa: BLE001
                yield rule, "failed", f"It raises {_described(error)}."

    def describes_itself(self) -> str:
        try:
            check_description(self.tool, self.name)
            self.read_prompt(self.tool)
        except ToolError as error:
            raise BrokenRuleError(str(error)) from error
        for call, _ in self._shown:
            what = f"Reading [{call}], a call of the prompt,"
            _expect(what, self._read[call], str, "a call that the tool takes")
        about = f"version {_described(self.tool.version)}, {len(self._shown)} calls in the prompt"
        missing = ", ".join(self.tool.omitted_arguments)
        return f"{about}, but calls cannot set {missing}" if missing else about

    def reads_what_models_write(self) -> str:
        """Check that arguments are refused, or have a normal form that parses to itself."""
        num_accepted = 0
        for call, read in self._read.items():
            if isinstance(read, CallSyntaxError) and read.reason != "parse_error":
                continue
            what, cause = f"Reading {_described(call)}", getattr(read, "__cause__", None) or read
            _expect(what, cause, str, "one line of text, or a CallSyntaxError, in time")
            again = self._parse(f"{self.name}({read})")
            _expect_same(what, read, again, "read again", "the same")
            num_accepted += 1
        return f"{num_accepted} of {len(self._read)} accepted as calls"

    def takes_any_text(self) -> str:
        """Check selection and proposals on any text; proposed positions must lie in the text."""
        pages = [page for _, page in self._shown]
        pages += [Document("nasty", text) for text in NASTY_ARGUMENTS]
        for page in pages:
            chosen = self._outcome(partial(self.tool.preselect, page))
            shown = _described(page.text)
            _expect(f"preselect of {shown}", chosen, Preselection, "a Preselection")
            proposals = self._outcome(partial(proposals_of, self.tool, page))
            _expect(f"proposals of {shown}", proposals, list, "positions in the text")
        return f"{len(pages)} texts"

    def answers_or_fails_rightly(self) -> str:
        self.tool.check_available()
        self.tool.prepare()
        calls = [(self._read[call], page) for call, page in self._shown]
        for read, page in (*calls, *((read, _PAGE) for read in self._read.values())):
            if not isinstance(read, str) or (read, page) in self._answered:
                continue
            answer = self._outcome(partial(self.tool.call, read, page))
            expected = "text, or a ToolCallError with a reason, in time"
            _expect(_described(read), answer, str | ToolCallError, expected)
            self._answered[read, page] = answer
            if isinstance(answer, str) and page is not _PAGE:
                what, cleaned = f"Cleaning {_described(answer)} for a text", clean_result(answer)
                _expect(what, cleaned or None, str, "text that is not empty")
                expected = "no '[', ']', '->' and invisible characters"
                _expect_same(what, cleaned, " ".join(answer.split()), "the tool", expected)
        answers = [answer for answer in self._answered.values() if isinstance(answer, str)]
        example = f", such as {_described(answers[0])}" if answers else ""
        return f"{len(answers)} of {len(self._answered)} answered{example}"

    def gives_the_same_again(self) -> str:
        """Check that another instance gives the same answers in reverse order, in a batch."""
        self.tool.check_available()
        fresh = self.create(self.settings)
        how = "in a batch from a fresh tool" if fresh.supports_batches else "from a fresh tool"
        for again in (how, f"{how} asked again"):
            self._compare(fresh, again, "the same, as answers are stored")
        return f"{len(self._answered)} calls"

    def version_covers_settings(self) -> str:
        """Check that tools with different settings have different versions or equal answers."""
        version, num_covered = self.tool.version, 0
        again, expected = (
            self.create(self.settings).version,
            "a version that depends only on the settings",
        )
        _expect_same("`version`", version, again, "for another instance", expected)
        for setting, parameter in inspect.signature(type(self.tool)).parameters.items():
            value = self.settings.get(setting, parameter.default)
            if not isinstance(value, int | float):
                continue
            other = value + 1 if isinstance(value, int) else value / 2 or 0.5
            other = not value if isinstance(value, bool) else other
            # The setting may not allow this value, and a tool instance takes no settings.
            with suppress(ToolError):
                tool = self.create({**self.settings, setting: other})
                num_covered += tool.version != version
                if tool.version == version:
                    expected = f"a different version if {setting} differs"
                    self._compare(tool, f"with another {setting}", expected)
        return f"{num_covered} settings with numbers or booleans change it"

    @cached_property
    def _shown(self) -> list[_Request]:
        prompt = ""
        with suppress(ToolError):
            prompt = self.read_prompt(self.tool)
        pages = [(replace(_PAGE, text=text), calls) for text, calls in demonstrations_of(prompt)]
        return [(call, page) for page, calls in pages for call in calls]

    @cached_property
    def _read(self) -> dict[str, object]:
        """Normalised arguments, or errors, of the prompt's calls and the nasty ones."""
        nasty = (f"{self.name}({text})" for text in NASTY_ARGUMENTS)
        return {call: self._parse(call) for call in (*(call for call, _ in self._shown), *nasty)}

    def _parse(self, call: str) -> object:
        text = f"{call}]"
        return self._outcome(lambda: parse_arguments(self.tool, parse_sample(text, self.name)))

    def _outcome(self, action: Callable[[], object], calls: int = 1) -> object:
        deadlines = calls * (COMPUTE_DEADLINE_FACTOR if self.tool.is_compute_bound else 1)
        outcome = answer_in_time(action, self.deadline_seconds * deadlines)
        if isinstance(outcome, ToolUnavailableError):
            raise outcome
        return outcome

    def _compare(self, tool: Tool, how: str, expected: str) -> None:
        for _, page in self._shown:
            before, now = self.tool.preselect(page), tool.preselect(page)
            _expect_same(f"preselect of {_described(page.text)}", before, now, how, expected)
        requests = [*reversed(self._answered)]
        if not requests:
            return
        tool.prepare()
        answers = self._outcome(partial(tool.call_batch, requests), len(requests))
        if not isinstance(answers, list) or len(answers) != len(requests):
            what = f"A batch of {len(requests)} calls gives {_described(answers)}"
            raise BrokenRuleError(f"{what}. Expected a list with one entry per call.")
        for (request, before), now in zip(self._answered.items(), reversed(answers), strict=True):
            _expect_same(_described(request[0]), before, now, how, expected)


def _expect(what: str, outcome: object, kind: Any, expected: str) -> None:
    if not isinstance(outcome, kind):
        raise BrokenRuleError(f"{what} gives {_described(outcome)}. Expected {expected}.")


def _expect_same(what: str, before: object, now: object, how: str, expected: str) -> None:
    if _described(before, None) != _described(now, None):
        message = f"{what} gives {_described(before)}, and {how} {_described(now)}"
        raise BrokenRuleError(f"{message}. Expected {expected}.")


def _described(outcome: object, max_characters: int | None = 80) -> str:
    """Describe an outcome: a refusal by its reason, an error with the line of the user's file."""
    if isinstance(outcome, ToolCallError):
        return f"no answer ({outcome.reason})"
    if isinstance(outcome, BaseException):
        text = f"{type(outcome).__name__}: {outcome}"[:500].removesuffix(".")
        return f"{text}{error_location(outcome)}"
    text = repr(outcome)
    if max_characters is None or len(text) <= max_characters:
        return text
    return f"{text[: max_characters - 1]}…"
