"""What every tool promises, tried out: the contract test behind `toolformer tools check`.

Each rule is one finding. A rule that cannot be tried, because the tool cannot run here or has
nothing to try it on, is skipped and says so. The rules are in `contract_rules`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tools.errors import ToolUnavailableError
from tools.plugins import contract_rules
from tools.plugins.trial import BrokenRuleError, NotTriedError, Trial, error_text


@dataclass(frozen=True, slots=True)
class ContractFinding:
    """What came of one rule."""

    rule: str
    status: Literal["passed", "failed", "skipped"]
    detail: str


def check_contract(trial: Trial) -> Iterator[ContractFinding]:
    """Try out what a tool promises: one finding per rule, in the order of `RULES`."""
    return (_finding(rule, try_rule, trial) for rule, try_rule in _RULES.items())


# Those that need no call come first.
_RULES: Mapping[str, Callable[[Trial], str]] = {
    "describes itself": contract_rules.describes_itself,
    "prompt has the form and copies its texts": contract_rules.prompt_is_usable,
    "demonstrations are calls": contract_rules.demonstrations_are_calls,
    "arguments survive a round trip": contract_rules.arguments_survive_a_round_trip,
    "garbage is refused with the right error": contract_rules.garbage_is_refused,
    "texts are preselected": contract_rules.texts_are_preselected,
    "is available": contract_rules.is_available,
    "answers within the deadline": contract_rules.answers_in_time,
    "fails with the right error": contract_rules.fails_with_the_right_error,
    "gives the same answer again": contract_rules.is_deterministic,
    "a batch gives what single calls give": contract_rules.batch_equals_single,
    "answers survive cleaning": contract_rules.answers_survive_cleaning,
    "version names what answers depend on": contract_rules.version_covers_settings,
    "proposals lie in their texts": contract_rules.proposals_lie_in_their_texts,
}
RULES = tuple(_RULES)


def _finding(rule: str, try_rule: Callable[[Trial], str], trial: Trial) -> ContractFinding:
    try:
        return ContractFinding(rule, "passed", try_rule(trial))
    except BrokenRuleError as error:
        return ContractFinding(rule, "failed", str(error))
    # A tool that cannot run here has not broken its word.
    except (NotTriedError, ToolUnavailableError) as error:
        return ContractFinding(rule, "skipped", str(error))
    # Foreign code may raise anything, from a property for example.
    except Exception as error:  # noqa: BLE001
        return ContractFinding(rule, "failed", f"It raises {error_text(error)}.")
