"""What every tool promises, tried out: the contract test behind `toolformer tools check`.

Each rule is a function and gives one finding: it returns what it tried, raises BrokenRuleError when
the tool does not keep it, and NotTriedError when there is nothing to try it on.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tools.base import Tool
from tools.errors import (
    CallSyntaxError,
    PromptError,
    ToolCallError,
    ToolTimeoutError,
    ToolUnavailableError,
)
from tools.plugins.plugins import check_described
from tools.prompting import demonstrations_of
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Preselection, ToolCall
from tools.running.nasty_arguments import NASTY_ARGUMENTS
from tools.running.trial import (
    BrokenRuleError,
    NotTriedError,
    Outcomes,
    Trial,
    cut,
    error_text,
    outcome_text,
    shortened,
)
from tools.syntax import (
    CALL_OPEN,
    check_arguments,
    clean_result,
    format_call,
    parse_sample,
)

_REASON = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ContractFinding:
    """What came of one rule."""

    rule: str
    status: Literal["passed", "failed", "skipped"]
    detail: str


def check_contract(trial: Trial) -> Iterator[ContractFinding]:
    """Try out what a tool promises: one finding per rule, in the order of `RULES`."""
    for rule, try_rule in _RULES.items():
        try:
            yield ContractFinding(rule, "passed", try_rule(trial))
        except BrokenRuleError as error:
            yield ContractFinding(rule, "failed", str(error))
        # A tool that cannot run here has not broken its word.
        except (NotTriedError, ToolUnavailableError) as error:
            yield ContractFinding(rule, "skipped", str(error))
        # Foreign code may raise anything, from a property for example.
        except Exception as error:  # noqa: BLE001
            yield ContractFinding(rule, "failed", f"It raises {error_text(error)}.")


def _describes_itself(trial: Trial) -> str:
    """Name, version and description are there, and the version follows from the settings."""
    try:
        check_described(trial.tool, trial.name)
    except ToolUnavailableError as error:
        raise BrokenRuleError(f"{error.reason}. {error.remedy}.") from error
    version = trial.create(trial.settings).version
    if version != trial.tool.version:
        raise BrokenRuleError(
            f"Made again, its version is {shortened(version)} and not "
            f"{shortened(trial.tool.version)}. Expected one that follows from the settings."
        )
    missing = ", ".join(trial.tool.left_out)
    about = f"; no call can give {missing}, which is no text, number or choice" if missing else ""
    return f"version {shortened(version)}{about}"


def _prompt_is_usable(trial: Trial) -> str:
    """There is a prompt, and `check_prompt` finds nothing."""
    try:
        prompt = trial.read_prompt(trial.tool)
    except PromptError as error:
        raise BrokenRuleError(str(error)) from error
    return f"{len(demonstrations_of(prompt))} demonstrations"


def _demonstrations_are_calls(trial: Trial) -> str:
    """Each call that the prompt shows is one for the tool itself."""
    if not trial.shown_calls:
        raise NotTriedError("there is no usable prompt")
    for text, call in trial.shown_calls:
        try:
            trial.tool.parse_arguments(parse_sample(f"{call}]", trial.name))
        except CallSyntaxError as error:
            raise BrokenRuleError(
                f"The call [{call}] in {shortened(text)} is none ({error.reason}): {error} "
                "Expected calls that the tool takes."
            ) from error
    return f"{len(trial.shown_calls)} calls"


def _arguments_survive_a_round_trip(trial: Trial) -> str:
    """What was parsed once stays the same, also when it is written into a text and read."""
    for text, arguments in trial.accepted.items():
        again = trial.parsed(arguments)
        if again != arguments:
            raise BrokenRuleError(
                f"{shortened(text)} becomes {shortened(arguments)}, and that becomes "
                f"{shortened(again)}. Expected normalised arguments to stay as they are."
            )
        written = format_call(ToolCall(trial.name, arguments), empty_result_keeps_arrow=False)
        try:
            read = trial.parsed(parse_sample(written.removeprefix(CALL_OPEN), trial.name))
        except CallSyntaxError as error:
            raise BrokenRuleError(
                f"{shortened(text)} becomes {shortened(arguments)}, which cannot be written into a "
                f"text and read again: {error} Expected it to be a call again."
            ) from error
        if read != arguments:
            raise BrokenRuleError(
                f"{shortened(text)} becomes {shortened(arguments)}; written into a text and read "
                f"again, that becomes {shortened(read)}. Expected it to stay as it is."
            )
    return f"{len(trial.accepted)} arguments"


def _garbage_is_refused(trial: Trial) -> str:
    """Whatever a model writes is parsed or refused with a CallSyntaxError that has a reason."""
    refused = 0
    for text in NASTY_ARGUMENTS:
        try:
            arguments = trial.timed(partial(trial.tool.parse_arguments, text))
        except CallSyntaxError as error:
            _check_reason(error.reason, text)
            refused += 1
        except ToolUnavailableError:
            raise
        except TimeoutError as error:
            raise BrokenRuleError(
                f"Parsing {shortened(text)} takes more than {trial.deadline_seconds:g} s. Expected "
                "a limit on length and depth."
            ) from error
        # Foreign code may raise anything; this is what the rule is about.
        except Exception as error:
            raise BrokenRuleError(
                f"Parsing {shortened(text)} raises {error_text(error)}. Expected a CallSyntaxError "
                "or the arguments."
            ) from error
        else:
            _check_arguments(arguments, text)
    return f"{refused} of {len(NASTY_ARGUMENTS)} refused"


def _texts_are_preselected(trial: Trial) -> str:
    """Each text is taken or left, with a reason."""
    documents = _texts_of(trial)
    for document in documents:
        what = f"preselect of {shortened(document.text)}"
        decision = trial.guarded(partial(trial.tool.preselect, document), what)
        if not isinstance(decision, Preselection):
            raise BrokenRuleError(f"{what} gives {decision!r}. Expected a Preselection.")
        _check_reason(decision.reason, document.text)
        key = trial.guarded(partial(trial.tool.cache_key, document), "cache_key")
        if key is not None and not all(isinstance(part, str) for part in key):
            raise BrokenRuleError(f"cache_key gives {key!r}. Expected texts, or None.")
    return f"{len(documents)} texts"


def _proposals_lie_in_their_texts(trial: Trial) -> str:
    """Each place that is proposed lies in its text, and arguments are text."""
    if not trial.tool.makes_proposals:
        raise NotTriedError("it has no method `proposals`: the model chooses the places")
    documents = _texts_of(trial)
    places = 0
    for document in documents:
        what = f"proposals of {shortened(document.text)}"
        places += len(trial.guarded(partial(proposals_of, trial.tool, document), what))
    return f"{places} places in {len(documents)} texts"


def _is_available(trial: Trial) -> str:
    """The tool can run here; where it cannot, that is no fault of its own."""
    if trial.unavailable is not None:
        raise NotTriedError(trial.unavailable)
    return "it can run here"


def _answers_or_fails_rightly(trial: Trial) -> str:
    """A call is answered in time, or raises a ToolCallError with a reason and nothing else."""
    trial.need_available()
    failed = 0
    outcomes = [*trial.answered, *trial.answered_garbage]
    for (arguments, _), outcome in outcomes:
        if isinstance(outcome, ToolTimeoutError):
            raise BrokenRuleError(
                f"{shortened(arguments)} had no answer within {trial.deadline_seconds:g} s. "
                "Expected an answer or an error; give the tool a limit of its own."
            )
        if isinstance(outcome, ToolCallError):
            _check_reason(outcome.reason, arguments)
            failed += 1
        elif not isinstance(outcome, str):
            wrong = (
                error_text(outcome) if isinstance(outcome, BaseException) else cut(repr(outcome))
            )
            raise BrokenRuleError(
                f"{shortened(arguments)} gives {wrong}. Expected text, or a ToolCallError with a "
                "reason."
            )
    return f"{failed} of {len(outcomes)} without an answer"


def _is_deterministic(trial: Trial) -> str:
    """The same call has the same answer, from this tool and from a fresh one."""
    trial.need_demonstrations()
    fresh = trial.create(trial.settings)
    for tool, which in ((trial.tool, "asked again"), (fresh, "from a fresh tool")):
        for change in _changes(trial, tool, trial.answered[::-1], which):
            raise BrokenRuleError(f"{change}. Expected the same: results are kept for later runs.")
    return f"{len(trial.answered)} calls, twice and by a fresh tool"


def _batch_equals_single(trial: Trial) -> str:
    """A batch gives one entry per call, in order."""
    trial.need_demonstrations()
    expected = [*trial.answered, *trial.answered[::-1], *trial.answered_garbage]
    requests = [request for request, _ in expected]
    seconds = trial.deadline_seconds * len(requests)
    what = f"a batch of {len(requests)} calls"
    answers = trial.guarded(partial(trial.tool.call_batch, requests), what, seconds)
    if not isinstance(answers, list) or len(answers) != len(requests):
        raise BrokenRuleError(
            f"{what} gives {shortened(answers)}. Expected a list with one entry per call."
        )
    for (request, single), answer in zip(expected, answers, strict=True):
        alone, batched = outcome_text(single), outcome_text(answer)
        if batched != alone:
            raise BrokenRuleError(
                f"{shortened(request[0])} gives {cut(alone)} alone, and in a batch {cut(batched)}. "
                "Expected the same, in the order of the calls."
            )
    if trial.guarded(partial(trial.tool.call_batch, []), "an empty batch") != []:
        raise BrokenRuleError(
            "An empty batch gives a result that is not empty. Expected an empty list."
        )
    return what


def _answers_survive_cleaning(trial: Trial) -> str:
    """Nothing of an answer is lost when it becomes one line without markers."""
    trial.need_demonstrations()
    answers = [outcome for _, outcome in trial.answered if isinstance(outcome, str)]
    if not answers:
        reasons = ", ".join(sorted({cut(outcome_text(outcome)) for _, outcome in trial.answered}))
        raise NotTriedError(f"no demonstration has an answer: {reasons}")
    for answer in answers:
        cleaned = clean_result(answer)
        if not cleaned or cleaned != " ".join(answer.split()):
            raise BrokenRuleError(
                f"The answer {shortened(answer)} becomes {shortened(cleaned)} in a text. Expected "
                "text that is not empty, without '[', ']', '->', control and invisible characters."
            )
    return f"{len(answers)} answers, such as {shortened(answers[0])}"


def _version_covers_settings(trial: Trial) -> str:
    """Two tools of the same version do the same, whatever their settings."""
    changed = list(trial.tools_with_one_change())
    if not changed:
        raise NotTriedError("it has no setting with a number or truth value as its default")
    same = [(setting, tool) for setting, tool in changed if tool.version == trial.tool.version]
    for setting, tool in same:
        answered = trial.answered if trial.unavailable is None else []
        changes = list(_changes(trial, tool, answered, f"with another {setting}"))
        if any(tool.preselect(each) != trial.tool.preselect(each) for _, each in trial.requests):
            changes.append(f"With another {setting} other texts are preselected")
        if changes:
            raise BrokenRuleError(
                f"{changes[0]}, but the version is the same. Name {setting} in it."
            )
    return f"{len(changed) - len(same)} of {len(changed)} settings change it"


def _texts_of(trial: Trial) -> list[Document]:
    """The texts of the demonstrations, and garbage."""
    garbage = [Document(f"garbage-{n}", text) for n, text in enumerate(NASTY_ARGUMENTS)]
    return [*(document for _, document in trial.requests), *garbage]


def _changes(trial: Trial, tool: Tool, answered: Outcomes, which: str) -> Iterator[str]:
    """What another tool answers otherwise, each as a clause."""
    for request, first in answered:
        before, now = outcome_text(first), outcome_text(trial.outcome(tool, request))
        if now != before:
            yield f"{shortened(request[0])} gives {cut(before)}, and {which} {cut(now)}"


def _check_arguments(arguments: object, text: str) -> None:
    what = f"Parsing {shortened(text)} gives {shortened(arguments)}"
    if not isinstance(arguments, str) or len(arguments.splitlines()) > 1:
        raise BrokenRuleError(f"{what}. Expected one line of text.")
    try:
        check_arguments(arguments)
    except CallSyntaxError as error:
        raise BrokenRuleError(f"{what}. Expected text without markers of calls.") from error


def _check_reason(reason: object, text: str) -> None:
    if not isinstance(reason, str) or _REASON.fullmatch(reason) is None:
        raise BrokenRuleError(
            f"The reason for {shortened(text)} is {reason!r}. Expected a word such as 'no_result'."
        )


# Those that need no call come first.
_RULES: Mapping[str, Callable[[Trial], str]] = {
    "describes itself": _describes_itself,
    "prompt has the form and copies its texts": _prompt_is_usable,
    "demonstrations are calls": _demonstrations_are_calls,
    "arguments survive a round trip": _arguments_survive_a_round_trip,
    "garbage is refused with the right error": _garbage_is_refused,
    "texts are preselected": _texts_are_preselected,
    "is available": _is_available,
    "answers in time, or fails with the right error": _answers_or_fails_rightly,
    "gives the same answer again": _is_deterministic,
    "a batch gives what single calls give": _batch_equals_single,
    "answers survive cleaning": _answers_survive_cleaning,
    "version names what answers depend on": _version_covers_settings,
    "proposals lie in their texts": _proposals_lie_in_their_texts,
}
RULES = tuple(_RULES)
