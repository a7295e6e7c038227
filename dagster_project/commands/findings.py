"""A finding of `doctor`: what was checked, its state, and what to do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from dagster_project.commands import console

# What a broken home or installation shows itself in.
BREAKAGE = (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        status: `ok`; `warning` for something that works less well or will stop working; `missing`
            for something that cannot be used here.
        remedy: how to get what is missing; empty where nothing has to be done.
        files: those that are damaged or cannot be read.
    """

    name: str
    status: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""
    files: tuple[str, ...] = ()


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print findings as a table, or as JSON."""
    if as_json:
        console.document([asdict(finding) for finding in findings])
        return
    rows = [(each.name, each.status, each.detail, each.remedy) for each in findings]
    console.table(("what", "state", "detail", "remedy"), rows)


def guarded(name: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run a check; an exception becomes a finding."""
    from toolformer.errors import ToolformerError
    from tools.errors import ToolError
    from warehouse.errors import WarehouseError

    findings: list[Finding] = []
    try:
        # One by one, so that what was found before an error is kept.
        findings.extend(look())
    except (ToolError, ToolformerError, WarehouseError) as error:
        findings.append(Finding(name, "missing", str(error)))
    except BREAKAGE as error:
        detail = f"could not be examined: {type(error).__name__}: {error}"
        remedy = "Run `make setup`, and check the home folder"
        file = error.filename if isinstance(error, OSError) else None
        findings.append(Finding(name, "warning", detail, remedy, (str(file),) if file else ()))
    return findings


def named(names: Sequence[str]) -> str:
    """Join names, the first five if there are more."""
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
