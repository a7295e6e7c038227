"""The rules that every tool keeps, each a function that tries a tool out.

A rule returns what it tried, raises BrokenRuleError when the tool does not keep it, and
NotTriedError when there is nothing to try it on.
"""

import re

from tools.errors import CallSyntaxError, PromptError, ToolUnavailableError
from tools.plugins.nasty_arguments import NASTY_ARGUMENTS
from tools.plugins.plugins import check_described
from tools.plugins.trial import (
    BrokenRuleError,
    NotTriedError,
    Trial,
    TrialOutcome,
    error_text,
    shortened,
)
from tools.prompting import demonstrations_of
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Preselection, ToolCall
from tools.syntax import (
    CALL_OPEN,
    check_arguments,
    clean_result,
    format_call,
    parse_sample,
)

_REASON = re.compile(r"[a-z][a-z0-9_]*")


def describes_itself(trial: Trial) -> str:
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
    return f"version {shortened(version)}"


def prompt_is_usable(trial: Trial) -> str:
    """There is a prompt, and `check_prompt` finds nothing."""
    try:
        prompt = trial.read_prompt(trial.tool)
    except PromptError as error:
        raise BrokenRuleError(str(error)) from error
    return f"{len(demonstrations_of(prompt))} demonstrations"


def demonstrations_are_calls(trial: Trial) -> str:
    """Each call that the prompt shows is one for the tool itself."""
    for text, call in trial.shown_calls:
        try:
            trial.tool.parse_arguments(parse_sample(f"{call}]", trial.name))
        except CallSyntaxError as error:
            raise BrokenRuleError(
                f"The call [{call}] in {shortened(text)} is none ({error.reason}): {error} "
                "Expected calls that the tool takes."
            ) from error
    return f"{len(trial.shown_calls)} calls"


def arguments_survive_a_round_trip(trial: Trial) -> str:
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


def garbage_is_refused(trial: Trial) -> str:
    """Whatever a model writes is parsed or refused with a CallSyntaxError that has a reason."""
    refused = 0
    for text in NASTY_ARGUMENTS:
        try:
            arguments = trial.timed(lambda text=text: trial.tool.parse_arguments(text))
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


def texts_are_preselected(trial: Trial) -> str:
    """Each text is taken or left, with a reason."""
    documents = _texts_of(trial)
    for document in documents:
        what = f"preselect of {shortened(document.text)}"
        decision = trial.guarded(lambda document=document: trial.tool.preselect(document), what)
        if not isinstance(decision, Preselection):
            raise BrokenRuleError(f"{what} gives {decision!r}. Expected a Preselection.")
        _check_reason(decision.reason, document.text)
        key = trial.guarded(lambda document=document: trial.tool.cache_key(document), "cache_key")
        if key is not None and not all(isinstance(part, str) for part in key):
            raise BrokenRuleError(f"cache_key gives {key!r}. Expected texts, or None.")
    return f"{len(documents)} texts"


def proposals_lie_in_their_texts(trial: Trial) -> str:
    """Each place that is proposed lies in its text, and arguments are text."""
    if not trial.tool.makes_proposals:
        raise NotTriedError("it has no method `proposals`: the model chooses the places")
    documents = _texts_of(trial)
    places = sum(
        len(
            trial.guarded(
                lambda document=document: proposals_of(trial.tool, document),
                f"proposals of {shortened(document.text)}",
            )
        )
        for document in documents
    )
    return f"{places} places in {len(documents)} texts"


def is_available(trial: Trial) -> str:
    """The tool can run here; where it cannot, that is no fault of its own."""
    if trial.unavailable is not None:
        raise NotTriedError(trial.unavailable)
    return "it can run here"


def answers_in_time(trial: Trial) -> str:
    """Neither demonstrations nor garbage hold a run up."""
    trial.need_available()
    for (arguments, _), outcome in [*trial.answered, *trial.answered_garbage]:
        if outcome.is_late:
            raise BrokenRuleError(
                f"{shortened(arguments)} had no answer within {trial.deadline_seconds:g} s. "
                "Expected an answer or an error; give the tool a limit of its own."
            )
    return f"{len(trial.answered) + len(trial.answered_garbage)} calls"


def fails_with_the_right_error(trial: Trial) -> str:
    """A call without an answer raises a ToolCallError with a reason, and nothing else."""
    trial.need_available()
    failed = 0
    for (arguments, _), outcome in [*trial.answered, *trial.answered_garbage]:
        if outcome.wrong is not None:
            raise BrokenRuleError(
                f"{shortened(arguments)} gives {shortened(outcome.wrong)}{outcome.location}. "
                "Expected text, or a ToolCallError with a reason."
            )
        if outcome.reason is not None and not outcome.is_late:
            _check_reason(outcome.reason, arguments)
            failed += 1
    return f"{failed} of {len(trial.answered) + len(trial.answered_garbage)} without an answer"


def is_deterministic(trial: Trial) -> str:
    """The same call has the same answer, from this tool and from a fresh one."""
    trial.need_demonstrations()
    fresh = trial.create(trial.settings)
    for tool, which in ((trial.tool, "asked again"), (fresh, "from a fresh tool")):
        for request, first in reversed(trial.answered):
            outcome = trial.outcome(tool, request)
            if outcome != first:
                raise BrokenRuleError(
                    f"{shortened(request[0])} gives {shortened(first)}, and {which} "
                    f"{shortened(outcome)}. Expected the same: results are kept for later runs."
                )
    return f"{len(trial.answered)} calls, twice and by a fresh tool"


def batch_equals_single(trial: Trial) -> str:
    """A batch gives one entry per call, in order."""
    trial.need_demonstrations()
    expected = [*trial.answered, *trial.answered[::-1], *trial.answered_garbage]
    requests = [request for request, _ in expected]
    seconds = trial.deadline_seconds * len(requests)
    what = f"a batch of {len(requests)} calls"
    answers = trial.guarded(lambda: trial.tool.call_batch(requests), what, seconds)
    if not isinstance(answers, list) or len(answers) != len(requests):
        raise BrokenRuleError(
            f"{what} gives {shortened(answers)}. Expected a list with one entry per call."
        )
    for (request, single), answer in zip(expected, answers, strict=True):
        batched = TrialOutcome.of(answer)
        if batched != single:
            raise BrokenRuleError(
                f"{shortened(request[0])} gives {shortened(single)} alone, and in a batch "
                f"{shortened(batched)}. Expected the same, in the order of the calls."
            )
    if trial.guarded(lambda: trial.tool.call_batch([]), "an empty batch") != []:
        raise BrokenRuleError(
            "An empty batch gives a result that is not empty. Expected an empty list."
        )
    return what


def answers_survive_cleaning(trial: Trial) -> str:
    """Nothing of an answer is lost when it becomes one line without markers."""
    trial.need_demonstrations()
    answers = [outcome.answer for _, outcome in trial.answered if outcome.answer is not None]
    if not answers:
        reasons = ", ".join(sorted({str(outcome.reason) for _, outcome in trial.answered}))
        raise NotTriedError(f"no demonstration has an answer: {reasons}")
    for answer in answers:
        cleaned = clean_result(answer)
        if not cleaned or cleaned != " ".join(answer.split()):
            raise BrokenRuleError(
                f"The answer {shortened(answer)} becomes {shortened(cleaned)} in a text. Expected "
                "text that is not empty, without '[', ']', '->', control and invisible characters."
            )
    return f"{len(answers)} answers, such as {shortened(answers[0])}"


def version_covers_settings(trial: Trial) -> str:
    """Two tools of the same version do the same, whatever their settings."""
    changed = list(trial.tools_with_one_change())
    if not changed:
        raise NotTriedError("it has no setting with a number or truth value as its default")
    same = [(setting, tool) for setting, tool in changed if tool.version == trial.tool.version]
    for setting, tool in same:
        for request, first in trial.answered if trial.unavailable is None else ():
            outcome = trial.outcome(tool, request)
            if outcome != first:
                raise BrokenRuleError(
                    f"{shortened(request[0])} gives {shortened(first)}, and with another {setting} "
                    f"{shortened(outcome)}, but the version is the same. Name {setting} in it."
                )
        for _, document in trial.requests:
            if tool.preselect(document) != trial.tool.preselect(document):
                raise BrokenRuleError(
                    f"With another {setting} other texts are preselected, but the version is "
                    f"the same. Name {setting} in it."
                )
    return f"{len(changed) - len(same)} of {len(changed)} settings change it"


def _texts_of(trial: Trial) -> list[Document]:
    """The texts of the demonstrations, and garbage."""
    garbage = [Document(f"garbage-{n}", text) for n, text in enumerate(NASTY_ARGUMENTS)]
    return [*(document for _, document in trial.requests), *garbage]


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
