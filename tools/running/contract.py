"""What every tool promises, tried out: the contract test behind `toolformer tools check`.

Each rule is a function: it returns what it tried, and raises BrokenRuleError when the tool does not
keep it. Inputs are the calls that the tool's prompt shows, and garbage. Each call is made as in a
run: in a thread that is left behind when it takes longer than the deadline.
"""

import datetime
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    PromptError,
    ToolCallError,
    ToolError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.plugins import check_described, error_location, parse_arguments
from tools.prompting import demonstrations_of
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Preselection
from tools.running.call_threads import answer_in_time
from tools.running.nasty_arguments import NASTY_ARGUMENTS
from tools.syntax import clean_result, parse_sample

_PUBLISHED = {
    "url": "https://example.org/2024/05/03/story.html",
    "published_on": datetime.date(2024, 5, 3),
}
_GARBAGE = Document("garbage", "A text.", **_PUBLISHED)

_Request = tuple[str, Document]


class BrokenRuleError(Exception):
    """The tool does not keep a rule."""


@dataclass(frozen=True, slots=True)
class ContractFinding:
    """What came of one rule."""

    rule: str
    status: Literal["passed", "failed", "skipped"]
    detail: str


@dataclass
class Trial:
    """One tool, and what it did so far.

    Attributes:
        read_prompt: Gives the few-shot prompt of the tool; may raise PromptError.
        answered: The demonstrated calls, then garbage that the tool takes for calls, each with its
            answer or error; up to the first that is neither text nor a ToolCallError.
    """

    name: str
    create: Callable[[Mapping[str, object]], Tool]
    settings: Mapping[str, object]
    read_prompt: Callable[[Tool], str]
    deadline_seconds: float
    answered: list[tuple[_Request, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tool = self.create(self.settings)

    @cached_property
    def shown(self) -> list[_Request]:
        """The calls that the prompt shows, with their texts; none of a prompt that is unusable."""
        demonstrations = []
        with suppress(PromptError):
            demonstrations = demonstrations_of(self.read_prompt(self.tool))
        return [
            (call, Document(f"demonstration-{number}", text, **_PUBLISHED))
            for number, (text, calls) in enumerate(demonstrations)
            for call in calls
        ]

    @cached_property
    def parsed(self) -> dict[str, object]:
        """Calls as models write them, with their normalised arguments or the error."""
        garbage = (f"{self.name}({text})" for text in NASTY_ARGUMENTS)
        return {call: self.parse(call) for call in (*(call for call, _ in self.shown), *garbage)}

    @property
    def demonstrated(self) -> list[tuple[_Request, object]]:
        """Those calls of the prompt that were answered."""
        return [each for each in self.answered if each[0][1] is not _GARBAGE]

    def parse(self, call: str) -> object:
        """Read a call; its error is a value."""
        parsed = self.outcome(
            lambda: parse_arguments(self.tool, parse_sample(f"{call}]", self.name))
        )
        if isinstance(parsed, ToolUnavailableError):
            raise parsed
        return parsed

    def outcome(self, action: Callable[[], object], calls: int = 1) -> object:
        """Do something within the deadline of so many calls; its error is a value."""
        try:
            return answer_in_time(action, self.deadline_seconds * calls)
        except ToolTimeoutError as error:
            return error

    def outcomes(self, tool: Tool, requests: Sequence[_Request]) -> Iterator[object]:
        """Make calls one by one."""
        if requests:
            tool.prepare()
        return (self.outcome(partial(tool.call, *request)) for request in requests)


def check_contract(trial: Trial) -> Iterator[ContractFinding]:
    """Try out what a tool promises: one finding per rule, in their order."""
    for rule, try_rule in _RULES.items():
        try:
            yield ContractFinding(rule, "passed", try_rule(trial))
        except BrokenRuleError as error:
            yield ContractFinding(rule, "failed", str(error))
        # A tool that cannot run here has not broken its word.
        except ToolUnavailableError as error:
            yield ContractFinding(rule, "skipped", str(error))
        # Foreign code may raise anything, from a property for example.
        except Exception as error:  # noqa: BLE001
            yield ContractFinding(rule, "failed", f"It raises {_shown(error)}.")


def _describes_itself(trial: Trial) -> str:
    """Name, version, description and prompt are there, and what the prompt shows are calls."""
    try:
        check_described(trial.tool, trial.name)
        trial.read_prompt(trial.tool)
    except (PromptError, ToolUnavailableError) as error:
        raise BrokenRuleError(str(error)) from error
    for call, document in trial.shown:
        if not isinstance(arguments := trial.parsed[call], str):
            raise BrokenRuleError(
                f"The call [{call}] in {_shown(document.text)} is none: {_shown(arguments)}. "
                "Expected calls that the tool takes."
            )
    missing = ", ".join(trial.tool.left_out)
    about = f"; no call can give {missing}, which is no text, number or choice" if missing else ""
    return f"version {_shown(trial.tool.version)}, {len(trial.shown)} demonstrated calls{about}"


def _reads_what_models_write(trial: Trial) -> str:
    """Whatever a model writes is refused, or has a normal form that stays when it is read again."""
    taken = 0
    for call, arguments in trial.parsed.items():
        if isinstance(arguments, CallSyntaxError) and arguments.reason != "parse_error":
            continue
        if not isinstance(arguments, str):
            cause = getattr(arguments, "__cause__", None)
            raise BrokenRuleError(
                f"Reading {_shown(call)} gives {_shown(cause or arguments)}. Expected one "
                "line of text, or a CallSyntaxError, before the deadline."
            )
        again = trial.parse(f"{trial.name}({arguments})")
        if again != arguments:
            raise BrokenRuleError(
                f"{_shown(call)} has the arguments {_shown(arguments)}; written as a call and read "
                f"again, that gives {_shown(again)}. Expected them to stay as they are."
            )
        taken += 1
    return f"{taken} of {len(trial.parsed)} taken for calls"


def _takes_any_text(trial: Trial) -> str:
    """Each text is taken or left, and each place that is proposed lies in its text."""
    documents = [document for _, document in trial.shown]
    documents += [Document("garbage", text) for text in NASTY_ARGUMENTS]
    places = 0
    for document in documents:
        text = _shown(document.text)
        decision = trial.outcome(partial(trial.tool.preselect, document))
        if not isinstance(decision, Preselection):
            raise BrokenRuleError(
                f"preselect of {text} gives {_shown(decision)}. Expected a Preselection."
            )
        proposals = trial.outcome(partial(proposals_of, trial.tool, document))
        if not isinstance(proposals, list):
            raise BrokenRuleError(f"proposals of {text} gives {_shown(proposals)}.")
        places += len(proposals)
    return f"{places} places proposed in {len(documents)} texts"


def _answers_or_fails_rightly(trial: Trial) -> str:
    """A call is answered in time with text for one line, or raises a ToolCallError."""
    trial.tool.check_available()
    requests = [(trial.parsed[call], document) for call, document in trial.shown]
    requests += [(each, _GARBAGE) for each in dict.fromkeys(trial.parsed.values())]
    calls = [(each, document) for each, document in requests if isinstance(each, str)]
    answers: list[str] = []
    for request, outcome in zip(calls, trial.outcomes(trial.tool, calls), strict=True):
        if not isinstance(outcome, str | ToolCallError):
            raise BrokenRuleError(
                f"{_shown(request[0])} gives {_shown(outcome)}. Expected text, or a "
                "ToolCallError with a reason, before the deadline."
            )
        trial.answered.append((request, outcome))
        if isinstance(outcome, ToolCallError):
            continue
        answers.append(outcome)
        cleaned = clean_result(outcome)
        if request[1] is not _GARBAGE and (not cleaned or cleaned != " ".join(outcome.split())):
            raise BrokenRuleError(
                f"The answer {_shown(outcome)} becomes {_shown(cleaned)} in a text. Expected text "
                "that is not empty, without '[', ']', '->', control and invisible characters."
            )
    such = f", such as {_shown(answers[0])}" if answers else ""
    return f"{len(answers)} of {len(calls)} answered{such}"


def _gives_the_same_again(trial: Trial) -> str:
    """The same call has the same answer: from a fresh tool, asked again, and in a batch."""
    trial.tool.check_available()
    fresh = trial.create(trial.settings)
    expected = "Expected the same, in whatever order calls are made: answers are kept"
    answered = trial.demonstrated[::-1]
    for which in ("from a fresh tool", "asked again"):
        _compare(answered, trial.outcomes(fresh, [each for each, _ in answered]), which, expected)
    if fresh.has_batches:
        requests = [request for request, _ in trial.answered]
        batch = trial.outcome(partial(fresh.call_batch, requests), len(requests))
        if not isinstance(batch, list) or len(batch) != len(requests):
            raise BrokenRuleError(
                f"A batch of {len(requests)} calls gives {_shown(batch)}. Expected a list with one "
                "entry per call."
            )
        _compare(trial.answered, batch, "in a batch", expected)
    return f"{len(answered)} calls"


def _version_covers_settings(trial: Trial) -> str:
    """Tools have the same version exactly when they do the same, whatever their settings."""
    if (again := trial.create(trial.settings).version) != trial.tool.version:
        raise BrokenRuleError(
            f"Made again, its version is {_shown(again)} and not {_shown(trial.tool.version)}. "
            "Expected one that follows from the settings."
        )
    named = 0
    for setting, parameter in inspect.signature(type(trial.tool)).parameters.items():
        value = trial.settings.get(setting, parameter.default)
        if not isinstance(value, int | float):
            continue
        # Not every value is one for every setting, and a tool that is ready has none.
        with suppress(ToolError):
            other = value + 1 if isinstance(value, int) else value / 2 or 0.5
            other = not value if isinstance(value, bool) else other
            tool = trial.create({**trial.settings, setting: other})
            if tool.version != trial.tool.version:
                named += 1
                continue
            expected = f"Expected another version then, which names {setting}"
            changed, shown = f"with another {setting}", [document for _, document in trial.shown]
            texts = [((each.text, each), trial.tool.preselect(each)) for each in shown]
            _compare(texts, map(tool.preselect, shown), changed, expected)
            requests = [request for request, _ in trial.demonstrated]
            _compare(trial.demonstrated, trial.outcomes(tool, requests), changed, expected)
    return f"{named} settings with numbers or truth values change it"


def _compare(
    before: Sequence[tuple[_Request, object]], now: Iterable[object], which: str, expected: str
) -> None:
    """Raise BrokenRuleError where what another tool gives differs."""
    for ((text, _), first), other in zip(before, now, strict=True):
        if _outcome_text(first) != _outcome_text(other):
            raise BrokenRuleError(
                f"{_shown(text)} gives {_shown(first)}, and {which} {_shown(other)}. {expected}."
            )


def _outcome_text(outcome: object) -> str:
    """An outcome as it is compared: of a call without an answer its reason alone."""
    if isinstance(outcome, ToolCallError):
        return f"no answer ({outcome.reason})"
    is_error = isinstance(outcome, BaseException)
    return f"{type(outcome).__name__}: {outcome}" if is_error else repr(outcome)


def _shown(outcome: object) -> str:
    """An outcome in a message: short, and an error with the place in the user's own file."""
    is_error = isinstance(outcome, BaseException)
    text, longest = _outcome_text(outcome).removesuffix("."), 500 if is_error else 80
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return text + error_location(outcome) if is_error else text


# Those that need no call come first.
_RULES: Mapping[str, Callable[[Trial], str]] = {
    "describes itself and shows its calls": _describes_itself,
    "reads what models write, or refuses it": _reads_what_models_write,
    "takes any text": _takes_any_text,
    "answers in time, or fails with the right error": _answers_or_fails_rightly,
    "gives the same answer again, also in a batch": _gives_the_same_again,
    "version names what answers depend on": _version_covers_settings,
}
