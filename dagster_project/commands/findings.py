"""Runs the checks of `toolformer doctor` and prints their findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from dagster_project.commands import console

# Errors that a broken home or installation may cause anywhere.
BREAKAGE = (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        status: `warning`: works less well, or will stop working; `missing`: cannot be used here.
        files: damaged or unreadable files.
    """

    name: str
    status: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""
    files: tuple[str, ...] = ()


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        console.document([asdict(finding) for finding in findings])
        return
    rows = [(each.name, each.status, each.detail, each.remedy) for each in findings]
    console.table(("check", "state", "detail", "remedy"), rows)


def run_check(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run a check and turn an exception into a finding."""
    from toolformer.errors import ToolformerError
    from tools.errors import ToolError
    from warehouse.errors import WarehouseError

    findings: list[Finding] = []
    try:
        # `extend` keeps the findings from before an error.
        findings.extend(check())
    except (ToolError, ToolformerError, WarehouseError) as error:
        findings.append(Finding(name, "missing", str(error)))
    except BREAKAGE as error:
        detail = f"the check itself failed: {type(error).__name__}: {error}"
        remedy = "Run `make setup`, and check the home folder"
        file = error.filename if isinstance(error, OSError) else None
        findings.append(Finding(name, "warning", detail, remedy, (str(file),) if file else ()))
    return findings


def named(names: Sequence[str]) -> str:
    """Join at most five names, and count the others."""
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
